// RUN: ffn-opt %s --split-input-file --verify-diagnostics

func.func @unknown_kernel(%x: tensor<2x5xf32>) -> tensor<2x5xf32> {
  // expected-error @+1 {{does not know the kernel 1}}
  %y = ffn_cpu.kernel_call 1 : i64 ins(%x : tensor<2x5xf32>) outs(%x : tensor<2x5xf32>) -> tensor<2x5xf32>
  return %y : tensor<2x5xf32>
}

// -----

func.func @operand_count(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  // expected-error @+1 {{kernel takes 2 inputs and 1 outputs}}
  %y = ffn_cpu.kernel_call #ffn_cpu.norm<level = avx2, kind = rms, width = 8, eps = 1.0e-5 : f64, scale = true>
    ins(%x : tensor<2x8xf32>) outs(%x : tensor<2x8xf32>) -> tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// -----

func.func @operand_shape(%x: tensor<2x9xf32>, %e: tensor<2x8xf32>) -> tensor<2x8xf32> {
  // expected-error @+1 {{operand 0 must be like 'memref<?x8xf32}}
  %y = ffn_cpu.kernel_call #ffn_cpu.norm<level = avx2, kind = rms, width = 8, eps = 1.0e-5 : f64>
    ins(%x : tensor<2x9xf32>) outs(%e : tensor<2x8xf32>) -> tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// -----

func.func @result_type(%x: tensor<2x8xf32>, %e: tensor<2x8xf32>) {
  // expected-error @+1 {{results must be the types of the tensor outs}}
  %y = ffn_cpu.kernel_call #ffn_cpu.norm<level = avx2, kind = rms, width = 8, eps = 1.0e-5 : f64>
    ins(%x : tensor<2x8xf32>) outs(%e : tensor<2x8xf32>) -> tensor<3x8xf32>
  return
}

// -----

// expected-error @+1 {{weights are f32, f16, bf16, i8 or i4, not i16}}
func.func private @element() attributes {a = #ffn_cpu.panels<n = 7, k = 5, lanes = 8, vectors = 1, element = i16>}

// -----

// expected-error @+1 {{panels of -7x5 are out of range}}
func.func private @negative() attributes {a = #ffn_cpu.panels<n = -7, k = 5, lanes = 8, vectors = 1, element = f32>}

// -----

// expected-error @+1 {{a panel of 3 vectors of 16 is not supported}}
func.func private @odd_gated() attributes {a = #ffn_cpu.panels<n = 7, k = 5, lanes = 16, vectors = 3, element = f32, gated = true>}

// -----

// expected-error @+1 {{row stride 4, is out of range}}
func.func private @stride() attributes {a = #ffn_cpu.gemm<level = avx2, n = 7, k = 5, row_stride = 4, element = f32>}

// -----

// expected-error @+1 {{attention with heads of 0 and 8 is not supported}}
func.func private @head() attributes {a = #ffn_cpu.attention<level = avx512, head_size = 0, value_size = 8, group = 2, scale = 5.0e-1 : f64>}

// -----

func.func @pack_size(%w: tensor<7x5xf32>) {
  // expected-error @+1 {{result must be memref<192xi8>}}
  %p = ffn_cpu.pack layout <n = 7, k = 5, lanes = 8, vectors = 1, element = f32> %w : tensor<7x5xf32> -> memref<191xi8>
  return
}

// -----

func.func @pack_weights(%w: tensor<7x5xf32>) {
  // expected-error @+1 {{needs 2 weights, has 1}}
  %p = ffn_cpu.pack layout <n = 7, k = 5, lanes = 8, vectors = 2, element = f32, gated = true> %w : tensor<7x5xf32> -> memref<768xi8>
  return
}

// -----

func.func @pack_transposed(%w: tensor<5x7xf32>) {
  // expected-error @+1 {{weight must be floating, 7x5, is 'tensor<5x7xf32>'}}
  %p = ffn_cpu.pack layout <n = 7, k = 5, lanes = 8, vectors = 1, element = f32> %w : tensor<5x7xf32> -> memref<192xi8>
  return
}

// -----

func.func @unaligned() {
  // expected-error @+1 {{offset must be a multiple of 64}}
  %p = ffn_cpu.packed_weight 65 : memref<8xf32>
  return
}

// -----

// expected-error @+1 {{product is not served: the columns are not in b alone}}
func.func private @columns() attributes {a = #ffn_cpu.product<level = avx2, rank = 2, a = [0, 1, 2], b = [2, 1]>}

// -----

// expected-error @+1 {{product is not served: the sum is not in both operands}}
func.func private @sum() attributes {a = #ffn_cpu.product<level = avx2, rank = 2, a = [0], b = [2, 1]>}

// -----

// expected-error @+1 {{product is not served: no loop is in a alone}}
func.func private @rows() attributes {a = #ffn_cpu.product<level = avx2, rank = 2, a = [0, 2], b = [0, 2, 1]>}

// -----

// expected-error @+1 {{product is not served: the last dimension of b is neither the columns nor the sum}}
func.func private @last() attributes {a = #ffn_cpu.product<level = avx2, rank = 3, a = [0, 1, 3], b = [3, 2, 0]>}

// -----

// expected-error @+1 {{product is not served: a loop of an operand is out of range or there twice}}
func.func private @twice() attributes {a = #ffn_cpu.product<level = avx2, rank = 2, a = [0, 0, 2], b = [2, 1]>}

// -----

// expected-error @+1 {{product is not served: ranks from 2 to 16 are supported}}
func.func private @rank() attributes {a = #ffn_cpu.product<level = avx2, rank = 17, a = [0, 17], b = [17, 16]>}

// -----

// expected-error @+1 {{groups of 24 of 48 elements of type i8 are not supported}}
func.func private @group() attributes {a = #ffn_cpu.panels<n = 7, k = 48, lanes = 8, vectors = 1, element = i8, group = 24>}

// -----

// expected-error @+1 {{groups of 5 of 5 elements of type i4 are not supported}}
func.func private @pairs() attributes {a = #ffn_cpu.panels<n = 7, k = 5, lanes = 8, vectors = 1, element = i4, group = 5>}

// -----

// expected-error @+1 {{elements of type f32 have no groups}}
func.func private @no_codes() attributes {a = #ffn_cpu.panels<n = 7, k = 32, lanes = 8, vectors = 1, element = f32, group = 32>}

// -----

func.func @not_dequantized() -> memref<192xi8> {
  %w = ffn.weight dense<1.0> : tensor<4x16xf32>
  // expected-error @+1 {{weight must be dequantized from groups of 16, 8 bits at most}}
  %p = ffn_cpu.pack layout <n = 4, k = 16, lanes = 8, vectors = 1, element = i8, group = 16> %w : tensor<4x16xf32> -> memref<192xi8>
  return %p : memref<192xi8>
}

// -----

// expected-error @+1 {{quads are of codes}}
func.func private @quads() attributes {a = #ffn_cpu.panels<n = 7, k = 5, lanes = 8, vectors = 1, element = f32, quads = true>}

// -----

// expected-error @+1 {{rows of int8 are multiplied by codes, of 65536 rows at most}}
func.func private @int8_rows() attributes {a = #ffn_cpu.gemm<level = avx2, n = 7, k = 5, row_stride = 16, element = f32, int8_rows = true>}

// -----

// expected-error @+1 {{rows of int8 are multiplied by codes, of 65536 rows at most}}
func.func private @int8_deep() attributes {a = #ffn_cpu.gemm<level = avx2, n = 7, k = 65537, row_stride = 131072, element = i8, group = 1024, int8_rows = true>}

// -----

// Rows of 5 codes have 16 words.
// expected-error @+1 {{row stride 5, is out of range}}
func.func private @int8_stride() attributes {a = #ffn_cpu.gemm<level = avx2, n = 7, k = 5, row_stride = 5, element = i8, group = 5, int8_rows = true>}

// -----

// expected-error @+1 {{rows of 40 in groups of 24 are not supported}}
func.func private @quantize_group() attributes {a = #ffn_cpu.quantize<level = avx2, width = 40, group = 24>}

// -----

// expected-error @+1 {{a route to 4 of 3 experts and 0 other groups is not supported}}
func.func private @route() attributes {a = #ffn_cpu.route<level = avx2, experts = 3, always = 0, top_k = 4>}

// -----

// expected-error @+1 {{only weights are normalized}}
func.func private @normalize() attributes {a = #ffn_cpu.route<level = avx2, experts = 3, always = 0, top_k = 1, normalize = true>}

// -----

// expected-error @+1 {{scale of a route is an f64}}
func.func private @scale() attributes {a = #ffn_cpu.route<level = avx2, experts = 3, always = 0, top_k = 1, scale = 1.0 : f32>}

// -----

// expected-error @+1 {{a grouped product is of floats}}
func.func private @codes() attributes {a = #ffn_cpu.grouped<product = <level = avx2, n = 32, k = 16, row_stride = 16, element = i8, group = 16>, groups = 2, active = 1>}

// -----

// expected-error @+1 {{3 of 2 groups of 32 neurons are not supported}}
func.func private @active() attributes {a = #ffn_cpu.grouped<product = <level = avx2, n = 32, k = 16, row_stride = 16, element = f32>, groups = 2, active = 3>}

// -----

// expected-error @+1 {{groups of 20 columns do not end with a panel of 16}}
func.func private @panels() attributes {a = #ffn_cpu.grouped<product = <level = avx2, n = 40, k = 16, row_stride = 16, element = f32>, groups = 2, active = 1>}

// -----

// expected-error @+1 {{weights are multiplied to the columns of groups, residuals added to their sum}}
func.func private @weighted() attributes {a = #ffn_cpu.grouped<product = <level = avx2, n = 40, k = 16, row_stride = 16, element = f32>, groups = 2, active = 1, by_depth = true, weighted = true>}
