"""What each number of an evaluation means; the one list of metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Definition:
  """A metric, for those who read its number.

  Attributes:
    title: name of the metric with its unit.
    digits: number of digits behind the decimal point.
    larger_is_better: None if the truth's own value is the best.
    text: what is computed, over what, and where the definition is from.
  """

  title: str
  digits: int
  larger_is_better: bool | None
  text: str

  @property
  def heading(self) -> str:
    """The title with an arrow that points to what is better."""
    arrow = {True: " ↑", False: " ↓", None: ""}[self.larger_is_better]
    return self.title + arrow


_COVERED = "mean over the frames in which something is covered"
_FRECHET = (
  "Fréchet distance of Gaussians fitted to features of restored and true"
)
_WHOLE = {
  "psnr": Definition(
    title="PSNR, dB",
    digits=2,
    larger_is_better=True,
    text=f"peak signal-to-noise ratio, {_COVERED}; without error 100 dB",
  ),
  "ssim": Definition(
    title="SSIM",
    digits=4,
    larger_is_better=True,
    text="structural similarity (Wang et al. 2004), 11×11 Gaussian of σ 1.5, "
    f"{_COVERED}",
  ),
  "tc": Definition(
    title="TC",
    digits=5,
    larger_is_better=False,
    text="Eq. (E.3) of the paper with the frame's own size in the divisor: "
    "mean squared difference of adjacent frames, which are in [0, 1], summed "
    "over colours. A value below the truth's is stiller than the truth",
  ),
  "ssim_paper": Definition(
    title="SSIM as in the paper",
    digits=4,
    larger_is_better=True,
    text="the same similarity, mean over all frames of a video, also those in "
    "which nothing is covered, then over videos (appendix E)",
  ),
  "tc_paper": Definition(
    title="TC as printed",
    digits=7,
    larger_is_better=False,
    text="Eq. (E.3) with the printed divisor 512² · 255², of each video, then "
    "the mean over videos",
  ),
  "warp": Definition(
    title="warping error",
    digits=5,
    larger_is_better=False,
    text="mean squared difference, in [0, 1], of a restored frame and the "
    "restored one before, moved along the truth's optical flow (DIS), where "
    "flow there and back agree (Lai et al. 2018)",
  ),
  "lpips": Definition(
    title="LPIPS",
    digits=4,
    larger_is_better=False,
    text="learned perceptual distance 0.1 (Zhang et al. 2018), AlexNet, "
    f"{_COVERED}",
  ),
  "fid": Definition(
    title="FID",
    digits=2,
    larger_is_better=False,
    text=f"{_FRECHET} frames in which something is covered: Inception v3's "
    "last pooling, 2048 wide, as pytorch-fid has it",
  ),
  "fid_paper": Definition(
    title="FID as in the paper",
    digits=2,
    larger_is_better=False,
    text=f"{_FRECHET} frames of one video in which something is covered, as "
    "FID; the mean over videos (appendix E). A video has fewer frames than "
    "features, which raises the value",
  ),
  "fvd": Definition(
    title="FVD",
    digits=2,
    larger_is_better=False,
    text=f"{_FRECHET} videos of 16 frames, one after the other, that have a "
    "covered frame: logits of I3D trained on Kinetics-400, at 224 px",
  ),
  "identity": Definition(
    title="identity",
    digits=4,
    larger_is_better=True,
    text="cosine of SFace's embeddings of the restored and the true face, "
    f"both aligned by the true one's landmarks, {_COVERED}",
  ),
  "landmarks": Definition(
    title="landmark error",
    digits=4,
    larger_is_better=False,
    text="mean distance of MediaPipe's landmarks in the restored and the true "
    "frame, in distances of the true outer eye corners, over the frames "
    "with something covered in which both have a face",
  ),
}
_INSIDE = {
  "psnr": "over the mask's pixels",
  "ssim": "the similarity map averaged over the mask",
  "tc": "over pixels that the mask marks in either frame",
  "warp": "over the mask's pixels",
  "lpips": "the distance map averaged over the mask",
  "fid": "of the smallest square around the mask, with an edge of an eighth",
  "fvd": "of the smallest square around the masks of the 16 frames, with an "
  "edge of an eighth",
  "landmarks": "over landmarks whose true place is covered",
}
_MASKED = {
  f"{name}_mask": Definition(
    title=_WHOLE[name].title.replace(",", " in mask,")
    if "," in _WHOLE[name].title
    else f"{_WHOLE[name].title} in mask",
    digits=_WHOLE[name].digits,
    larger_is_better=_WHOLE[name].larger_is_better,
    text=f"{_WHOLE[name].text}; {inside}",
  )
  for name, inside in _INSIDE.items()
}
# In the order of a table: what was restored comes first.
DEFINITIONS = _MASKED | _WHOLE
