"""The paper's Tables 1 to 4 as they are printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Metric:
  """A column of numbers.

  Attributes:
    name: name in the paper.
    key: what it is in `diffmvr_jax.metrics.definitions`.
    digits: digits behind the decimal point.
    from_videos: whether it is measured on the videos of the same masks, though
      the others are measured on still images.
  """

  name: str
  key: str
  digits: int
  from_videos: bool = False

  @property
  def larger_is_better(self) -> bool:
    """True for SSIM alone."""
    return self.name == "SSIM"


@dataclass(frozen=True, kw_only=True)
class Group:
  """Columns that share their data.

  Attributes:
    title: title in the paper.
    folder: folder of records below `--data`.
    videos: folder of records for metrics that are `from_videos`.
  """

  title: str
  folder: str
  videos: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
  """A table of the paper.

  Attributes:
    title: what it shows.
    metrics: the columns of each group.
    groups: the groups of columns.
    rows: by method of the models' file, the name in the paper.
    values: by method, a number for each group and metric, group by group.
    reference: method that ▲ and ▼ compare with.
    best: method whose lead the row Gap gives.
    second: method that it leads, the paper's second best; None if there is no
      such row.
    others: whether methods that the paper has not are shown as well.
  """

  title: str
  metrics: tuple[Metric, ...]
  groups: tuple[Group, ...]
  rows: Mapping[str, str]
  values: Mapping[str, tuple[float, ...]]
  reference: str = "DiffMVR"
  best: str = "DiffMVR"
  second: str | None
  others: bool = field(default=False)


_VIDEO = (
  Metric(name="FID", key="fid_paper", digits=3),
  Metric(name="SSIM", key="ssim_paper", digits=3),
  Metric(name="TC", key="tc_paper", digits=5),
  Metric(name="FVD", key="fvd", digits=2),
)
# Images are no videos: their FID is over all of them at once.
_IMAGE = (
  Metric(name="FID", key="fid", digits=3),
  Metric(name="SSIM", key="ssim_paper", digits=3),
  Metric(name="TC", key="tc_paper", digits=5, from_videos=True),
)
_METHODS = {
  name: name
  for name in (
    *("DiffMVR", "Stabilityai", "Tuned-stabilityai", "Runwayml"),
    *("Tuned-runwayml", "LaMa", "E2FGVI", "ProPainter", "LGVI"),
  )
}
_SEGMENTED = Group(title="segmented masks", folder="segmented")

TABLES = {
  "table1": Table(
    title="Table 1: image level",
    metrics=_IMAGE,
    groups=(
      Group(
        title="segmented masks",
        folder="stills-segmented",
        videos="segmented",
      ),
      Group(title="bounding boxes", folder="stills-boxes", videos="boxes"),
      Group(
        title="HOF, segmented masks",
        folder="hof-segmented",
        videos="hof-segmented",
      ),
    ),
    rows=_METHODS,
    values={
      "DiffMVR": (
        *(2.382, 0.899, 0.395, 2.478, 0.864, 0.396, 5.412, 0.786, 0.428),
      ),
      "Stabilityai": (
        *(3.066, 0.686, 0.424, 3.230, 0.706, 0.430, 6.118, 0.751, 0.430),
      ),
      "Tuned-stabilityai": (
        *(2.779, 0.732, 0.418, 2.950, 0.739, 0.422, 6.225, 0.726, 0.431),
      ),
      "Runwayml": (
        *(2.913, 0.751, 0.429, 2.935, 0.738, 0.433, 5.943, 0.742, 0.430),
      ),
      "Tuned-runwayml": (
        *(2.366, 0.763, 0.424, 2.211, 0.745, 0.420, 6.109, 0.735, 0.434),
      ),
      "LaMa": (
        *(2.940, 0.712, 0.455, 3.105, 0.670, 0.457, 7.025, 0.731, 0.456),
      ),
      "E2FGVI": (
        *(2.801, 0.831, 0.421, 2.901, 0.831, 0.433, 6.299, 0.747, 0.431),
      ),
      "ProPainter": (
        *(2.773, 0.850, 0.397, 2.853, 0.836, 0.399, 6.345, 0.762, 0.429),
      ),
      "LGVI": (
        *(5.118, 0.706, 0.404, 5.118, 0.706, 0.404, 8.476, 0.709, 0.452),
      ),
    },
    second="Tuned-runwayml",
    others=True,
  ),
  "table2": Table(
    title="Table 2: video level",
    metrics=_VIDEO,
    groups=(_SEGMENTED, Group(title="bounding boxes", folder="boxes")),
    rows=_METHODS,
    values={
      "DiffMVR": (2.109, 0.905, 0.338, 47.88, 2.102, 0.881, 0.339, 50.40),
      "Stabilityai": (2.406, 0.738, 0.421, 73.94, 2.497, 0.736, 0.427, 74.39),
      "Tuned-stabilityai": (
        *(2.352, 0.756, 0.398, 71.28, 2.414, 0.747, 0.401, 73.06),
      ),
      "Runwayml": (2.410, 0.759, 0.423, 73.02, 2.463, 0.748, 0.408, 73.85),
      "Tuned-runwayml": (
        *(2.247, 0.763, 0.417, 70.86, 2.229, 0.749, 0.420, 72.27),
      ),
      "LaMa": (2.933, 0.720, 0.454, 77.95, 3.195, 0.695, 0.455, 78.12),
      "E2FGVI": (2.329, 0.849, 0.350, 52.75, 2.350, 0.845, 0.351, 55.60),
      "ProPainter": (2.062, 0.894, 0.339, 48.92, 2.105, 0.860, 0.346, 51.04),
      "LGVI": (4.545, 0.717, 0.346, 56.20, 4.545, 0.717, 0.346, 56.20),
    },
    second="ProPainter",
    others=True,
  ),
  "table3": Table(
    title="Table 3: guidance",
    metrics=_VIDEO,
    groups=(_SEGMENTED,),
    rows={
      "DiffMVR": "Dual guide",
      "symmetric": "Single guide (symmetric)",
      "past": "Single guide (past frame)",
      "present": "Single guide (present frame)",
    },
    values={
      "DiffMVR": (2.11, 0.91, 0.34, 47.88),
      "symmetric": (2.57, 0.75, 0.42, 59.51),
      "past": (2.36, 0.77, 0.38, 60.80),
      "present": (2.95, 0.72, 0.45, 72.79),
    },
    second=None,
  ),
  "table4": Table(
    title="Table 4: loss",
    metrics=_VIDEO,
    groups=(_SEGMENTED,),
    rows={
      "past-no-motion": "baseline",
      "no-motion": "baseline + dual",
      "past": "baseline + motion",
      "DiffMVR": "DiffMVR: baseline + dual + motion",
    },
    values={
      "past-no-motion": (2.46, 0.68, 0.41, 65.92),
      "no-motion": (2.28, 0.74, 0.37, 61.57),
      "past": (2.36, 0.77, 0.38, 60.80),
      "DiffMVR": (2.11, 0.91, 0.34, 47.88),
    },
    reference="past-no-motion",
    second="no-motion",
  ),
}
