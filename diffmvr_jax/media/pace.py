"""How rarely a live stream is looked at closely, so that it keeps up.

A close look takes time: the frame is propagated from remembered frames, goes
through the networks, and hands are looked for. The frames between two of them
are carried on. Where frames come out late, looks become rarer, and more
frequent where there is time again.
"""

_LATE, _EARLY = 0.09, 0.05  # seconds from a frame's arrival until it is shown
_WEIGHT = 1 / 8  # of the newest latency in their mean
_PATIENCE = 12  # frames until a change has shown what it is worth


class Pace:
  """Of how many covered frames one is looked at closely.

  One thread sets it, and others read it.

  Args:
    every: at first, and while there is time; 1 means that every frame is.
    most: where there is not; None means that it never changes.

  Example:
    >>> pace = Pace(2, most=3)
    >>> for _ in range(100):
    ...   pace.notice(0.15)
    >>> pace.every
    3
  """

  def __init__(self, every: int = 1, *, most: int | None = None):
    self.every = self._least = every
    self._most = most or every
    self._latency = (_LATE + _EARLY) / 2  # the mean
    self._since = 0  # frames since the last change

  def notice(self, latency: float) -> None:
    """Takes how long a covered frame was on its way, in seconds."""
    self._latency += _WEIGHT * (latency - self._latency)
    self._since += 1
    if self._since < _PATIENCE:
      return
    if self._latency > _LATE and self.every < self._most:
      self.every += 1
    elif self._latency < _EARLY and self.every > self._least:
      self.every -= 1
    else:
      return
    self._since = 0
