"""What a compiled program moves, counted by hand."""

from launch.traffic import collective_bytes, kernel_bytes

GPU_PROGRAM = """
HloModule jit_step, is_scheduled=true

%sliced (p.0: f32[8,4], p.1: s32[]) -> f32[2,4] {
  %p.0 = f32[8,4]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %b = f32[32]{0} bitcast(%p.0)
  %c = f32[8,4]{1,0} bitcast(%b)
  %zero = s32[] constant(0)
  ROOT %s = f32[2,4]{1,0} dynamic-slice(%c, %p.1, %zero), metadata={}
}

%body (state: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %state = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%state), index=1
  %part = f32[2,4]{1,0} fusion(%x, %i), kind=kLoop, calls=%sliced
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%i, %x)
}

ENTRY %main (x.1: f32[8,4]) -> bf16[8,4] {
  %x.1 = f32[8,4]{1,0} parameter(0)
  %start = s32[] constant(0)
  %t = (s32[], f32[8,4]{1,0}) tuple(%start, %x.1)
  %loop = (s32[], f32[8,4]{1,0}) while(%t), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %y = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %sum = f32[8,4]{1,0} all-reduce-start(%y), channel_id=1
  %sum.1 = f32[8,4]{1,0} all-reduce-done(%sum)
  %gemm = (bf16[8,4]{1,0}, s8[16]{0}) custom-call(%sum.1, %x.1), \
custom_call_target="__cublas$gemm"
  ROOT %z = bf16[8,4]{1,0} get-tuple-element(%gemm), index=0
}
""".replace("\\\n", "")


def test_kernels_read_operands_and_write_results():
  slices = 3 * (2 * 4 * 4 + 2 * 4 * 4 + 4)  # written, read, and the index
  product = (8 * 4 * 2 + 16) + 2 * 8 * 4 * 4
  assert kernel_bytes(GPU_PROGRAM) == slices + product


def test_collectives_are_counted_once_by_kind_with_all_their_arrays():
  program = """
  %a = (f32[2,8]{1,0:T(8,128)}, f32[4]{0}) all-reduce(%x, %y), channel_id=1
  %b = ((bf16[4]{0}), bf16[16]{0}) all-gather-start(%z), channel_id=2
  %c = bf16[16]{0} all-gather-done(%b)
  %d = u32[3]{0} collective-permute(%z), channel_id=3
  %e = f32[] add(%a, %all-reduce.1)
  """
  assert collective_bytes(program) == {
    "all-reduce": 80,
    "all-gather": 32,
    "collective-permute": 12,
  }
