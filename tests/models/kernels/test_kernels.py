"""What runs instead of XLA's own operations gives the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.models.attention import attend
from diffmvr_jax.models.kernels import cudnn, winograd
from diffmvr_jax.models.kernels.blockwise import (
  blockwise_attention,
  headwise_attention,
)
from diffmvr_jax.models.kernels.convolution import (
  convolve,
  convolve_doubled,
  double,
)
from diffmvr_jax.runtime.flops import traced_flops

OPTIONS = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def normal(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.standard_normal(shape, np.float32))


def assert_close(ours, reference):
  for one, other in zip(
    jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True
  ):
    distance = jnp.linalg.norm(one - other) / jnp.linalg.norm(other)
    assert distance < 1e-5


@pytest.mark.parametrize("ours", [blockwise_attention, headwise_attention])
@pytest.mark.parametrize(
  ("queries", "keys"), [(7, 5), (300, 257), (2048, 1024)]
)
def test_attention_by_blocks_and_its_gradient(ours, queries, keys):
  q = normal(2, queries, 2, 8)
  k, v = normal(2, keys, 2, 8, seed=1), normal(2, keys, 2, 8, seed=2)

  def run(attention):
    def total(q, k, v):
      return jnp.square(attention(q, k, v)).sum()

    return attention(q, k, v), jax.grad(total, (0, 1, 2))(q, k, v)

  assert_close(run(ours), run(jax.nn.dot_product_attention))


def test_accelerators_hold_the_scores_of_some_queries_only():
  x = jax.ShapeDtypeStruct((1, 4096, 2, 8), jnp.bfloat16)

  def loss(x):
    return blockwise_attention(x, x, x).sum()

  program = jax.jit(jax.grad(loss)).trace(x)
  text = program.lower(lowering_platforms=("tpu",)).as_text()
  assert "x256x4096x" in text
  assert "4096x4096" not in text


def test_long_attention_is_headwise_on_a_cpu_and_only_there():
  x = jax.ShapeDtypeStruct((1, 512, 16), jnp.float32)
  traced = jax.jit(lambda x: attend(x, x, x, 2)).trace(x)
  scores = "x2x512x512xf32>"  # of all heads at once
  on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
  on_tpu = traced.lower(lowering_platforms=("tpu",)).as_text()
  assert scores not in on_cpu
  assert scores in on_tpu


@pytest.mark.parametrize("queries", [6, 7])
def test_cudnn_attention_with_an_odd_number_of_keys(queries, monkeypatch):
  # Only its arguments are ours: XLA takes the same ones, without a GPU.
  reference = jax.nn.dot_product_attention
  monkeypatch.setattr(
    jax.nn,
    "dot_product_attention",
    lambda *arrays, implementation, **options: reference(*arrays, **options),
  )
  q = normal(2, queries, 2, 8)
  k, v = normal(2, 5, 2, 8), normal(2, 5, 2, 8, seed=1)
  assert_close(cudnn.cudnn_attention(q, k, v), reference(q, k, v))


@pytest.fixture
def cudnn_on_paper(monkeypatch):
  """Tracing asks for cuDNN's version; lowering needs no GPU."""
  monkeypatch.setattr(
    "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version",
    lambda: 91_000,
  )
  monkeypatch.setattr(cudnn, "_cudnn_is_there", lambda: True)


@pytest.mark.parametrize("keys", [4096, 257])
@pytest.mark.usefixtures("cudnn_on_paper")
def test_gpus_attend_with_cudnn_and_keep_no_scores(keys):
  traced = traced_gradient(4096, keys)
  on_gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
  on_tpu = traced.lower(lowering_platforms=("tpu",)).as_text()
  assert "cudnn$fmhaSoftmax" in on_gpu
  assert "cudnn$fmhaSoftmaxBackward" in on_gpu
  assert f"x4096x{keys}x" not in on_gpu
  assert "cudnn" not in on_tpu
  product = 2 * 4096 * keys * 80
  padded = 2 * 4096 * (keys + keys % 2) * 80
  assert traced_flops(traced, "tpu") == 6 * product
  assert traced_flops(traced, "gpu") == 6 * padded
  assert traced_flops(traced, "gpu", recomputed=True) == 7 * padded


@pytest.mark.usefixtures("cudnn_on_paper")
def test_cudnn_goes_backward_through_an_odd_number_of_queries():
  # JAX refuses it, and a CLIP tower that is trained has 257 tokens.
  lowered = traced_gradient(257, 257).lower(lowering_platforms=("cuda",))
  assert "cudnn$fmhaSoftmaxBackward" in lowered.as_text()


def traced_gradient(queries, keys):
  """Two heads of 40 channels, as the first level of SD's U-Net has them."""
  query = jax.ShapeDtypeStruct((1, queries, 80), jnp.bfloat16)
  guide = jax.ShapeDtypeStruct((1, keys, 80), jnp.bfloat16)

  def loss(query, guide):
    return attend(query, guide, guide, 2).sum()

  return jax.jit(jax.grad(loss, (0, 1))).trace(query, guide)


@pytest.mark.parametrize(
  ("dtype", "channels"), [(jnp.float32, 40), (jnp.bfloat16, 512)]
)
def test_what_cudnn_does_not_take(dtype, channels, monkeypatch):
  monkeypatch.setattr(cudnn, "_cudnn_is_there", lambda: True)
  assert not cudnn.cudnn_takes(jnp.ones((1, 8, 2, channels), dtype))
  assert cudnn.cudnn_takes(jnp.ones((1, 8, 2, 128), jnp.bfloat16))


@pytest.mark.parametrize(
  ("size", "shape"),
  [(3, (1, 8, 8, 512)), (3, (1, 32, 32, 8)), (1, (2, 16, 16, 24))],
)
def test_convolution_and_its_gradient(size, shape):
  inputs, kernel = normal(*shape), normal(size, size, shape[-1], 12, seed=1)
  margin = (size // 2, size // 2)

  def run(convolution):
    def total(inputs, kernel):
      output = convolution(inputs, kernel, (1, 1), (margin, margin), **OPTIONS)
      return jnp.square(output).sum(), output

    return jax.grad(total, (0, 1), has_aux=True)(inputs, kernel)

  assert_close(run(convolve), run(jax.lax.conv_general_dilated))


@pytest.mark.parametrize(
  ("shape", "strip"),
  [((2, 6, 4, 16), 2**22), ((2, 16, 4, 8), 4 * 20), ((1, 12, 2, 8), 1)],
)
def test_winograd_convolution_and_its_gradient(shape, strip, monkeypatch):
  monkeypatch.setattr(winograd, "_STRIP", strip)
  inputs, kernel = normal(*shape), normal(3, 3, shape[-1], 12, seed=1)

  def run(convolution):
    def total(inputs, kernel):
      output = convolution(inputs, kernel)
      return jnp.square(output).sum(), output

    return jax.grad(total, (0, 1), has_aux=True)(inputs, kernel)

  def directly(inputs, kernel):
    return jax.lax.conv_general_dilated(
      inputs, kernel, (1, 1), ((1, 1), (1, 1)), **OPTIONS
    )

  assert_close(run(winograd.winograd_convolution), run(directly))


def test_large_maps_are_convolved_in_strips():
  x = jax.ShapeDtypeStruct((1, 512, 512, 128), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 128, 128), jnp.float32)
  compiled = jax.jit(winograd.winograd_convolution).lower(x, kernel).compile()
  at_once = 256 * 256 * 16 * (128 + 128) * 4
  assert compiled.memory_analysis().temp_size_in_bytes < at_once / 2


@pytest.mark.parametrize("shape", [(2, 5, 6, 16), (1, 1, 1, 8)])
def test_convolution_of_doubled_maps_and_its_gradient(shape):
  inputs, kernel = normal(*shape), normal(3, 3, shape[-1], 12, seed=1)

  def run(convolution, prepare):
    def total(inputs, kernel):
      output = convolution(
        prepare(inputs), kernel, (1, 1), ((1, 1), (1, 1)), **OPTIONS
      )
      return jnp.square(output).sum(), output

    return jax.grad(total, (0, 1), has_aux=True)(inputs, kernel)

  assert_close(
    run(convolve_doubled, lambda x: x),
    run(jax.lax.conv_general_dilated, double),
  )


@pytest.mark.parametrize(
  ("convolution", "shape"),
  [
    (convolve, (1, 8, 8, 512)),
    (convolve, (1, 32, 32, 128)),
    (convolve_doubled, (1, 32, 32, 8)),
  ],
)
def test_matrix_products_take_their_place_on_a_cpu_only(convolution, shape):
  inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, shape[-1], 128), jnp.float32)
  same = ((1, 1), (1, 1))
  traced = jax.jit(
    lambda x, k: convolution(x, k, (1, 1), same, **OPTIONS)
  ).trace(inputs, kernel)
  on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
  on_tpu = traced.lower(lowering_platforms=("tpu",)).as_text()
  assert "stablehlo.convolution" not in on_cpu
  assert "stablehlo.convolution" in on_tpu
