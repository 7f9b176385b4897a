// The CUDA kernels: a warp makes a row, each of its threads four neighbouring columns at a time.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "dequantize_gather.h"

namespace eigenselect {
namespace {

constexpr int kLanes = 4;
constexpr int kWarp = 32;
constexpr int kWarps = 8;            // of a block
constexpr int kRows = 4;             // at least, of a warp: each block copies the lookup table first
constexpr int64_t kMaxBlocks = 2048;
constexpr int64_t kMaxShared = 32 << 10;  // bytes of a lookup table; a larger one is read where it is

template <typename T, int kCount>
struct alignas(kCount * sizeof(T)) Part {
  T value[kCount];
};

// Columns c..c+3 of a row of bytes, c a multiple of 4; those from dim on are 0.
template <typename T>
__device__ Part<T, kLanes> looked_up(const uint8_t* bytes, const T* lut, unsigned values, unsigned c, unsigned dim) {
  Part<T, kLanes> found{};
  if (values % kLanes == 0) {  // all four are of one byte
    return *reinterpret_cast<const Part<T, kLanes>*>(lut + __ldg(bytes + c / values) * values + c % values);
  }
  if (values == 2 && c + kLanes <= dim) {
    for (int k = 0; k < kLanes; k += 2) {
      const auto pair = *reinterpret_cast<const Part<T, 2>*>(lut + __ldg(bytes + (c + k) / 2) * 2);
      found.value[k] = pair.value[0];
      found.value[k + 1] = pair.value[1];
    }
    return found;
  }
  unsigned byte = c / values, at = c % values;
  for (int k = 0; k < kLanes && c + k < dim; ++k) {
    found.value[k] = lut[__ldg(bytes + byte) * values + at];
    if (++at == values) {
      at = 0;
      ++byte;
    }
  }
  return found;
}

// Adds the values of `bits` bits in columns c..c+3 of a plane, moved to the bits from `at` on, to `codes`.
__device__ void take_apart(const uint8_t* bytes, unsigned width, int bits, int at, unsigned c, unsigned dim,
                           int (&codes)[kLanes]) {
  unsigned j = c / width, byte = c % width;
  for (int k = 0; k < kLanes && c + k < dim; ++k) {
    codes[k] |= ((__ldg(bytes + byte) >> (j * bits)) & ((1 << bits) - 1)) << at;
    if (++byte == width) {
      byte = 0;
      ++j;
    }
  }
}

__device__ Part<float, kLanes> dequantized(const Call& call, int64_t row, unsigned c, unsigned dim) {
  int codes[kLanes] = {}, at = 8;
  for (int p = 0; p < call.planes; ++p) {
    const Plane& plane = call.plane[p];
    const int bits = 8 / static_cast<int>(plane.values);
    at -= bits;
    take_apart(plane.packed + row * plane.width, static_cast<unsigned>(plane.width), bits, at, c, dim, codes);
  }
  const int zero_point = __ldg(call.zero_point);
  const float scale = __ldg(call.scale);
  Part<float, kLanes> found;
  for (int k = 0; k < kLanes; ++k) found.value[k] = __fmul_rn(static_cast<float>(codes[k] - zero_point), scale);
  return found;
}

template <typename T, bool kLookup>
__global__ void decode_kernel(const Call call, bool shared) {
  extern __shared__ float4 table[];
  const T* lut = static_cast<const T*>(call.lut);
  if (shared) {
    T* copy = reinterpret_cast<T*>(table);
    const unsigned size = 256 * static_cast<unsigned>(call.plane[0].values);
    for (unsigned k = threadIdx.x; k < size; k += kWarps * kWarp) copy[k] = lut[k];
    lut = copy;
  }
  __syncthreads();

  const unsigned dim = static_cast<unsigned>(call.dim);
  const bool whole = dim % kLanes == 0;  // then every row starts where four columns can be written at once
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  for (int64_t i = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; i < call.count; i += stride) {
    int64_t row = call.wide_ids ? static_cast<const int64_t*>(call.ids)[i] : static_cast<const int32_t*>(call.ids)[i];
    if (row < 0) row += call.n;
    const bool known = row >= 0 && row < call.n;
    T* out = static_cast<T*>(call.out) + i * call.dim;
    for (unsigned c = threadIdx.x % kWarp * kLanes; c < dim; c += kWarp * kLanes) {
      Part<T, kLanes> found{};
      if (known) {
        if constexpr (kLookup) {
          const Plane& plane = call.plane[0];
          found = looked_up(plane.packed + row * plane.width, lut, static_cast<unsigned>(plane.values), c, dim);
        } else {
          found = dequantized(call, row, c, dim);
        }
      }
      if (whole) {
        *reinterpret_cast<Part<T, kLanes>*>(out + c) = found;
      } else {
        for (int k = 0; k < kLanes && c + k < dim; ++k) out[c + k] = found.value[k];
      }
    }
  }
}

template <typename T, bool kLookup>
void launch(const Call& call, cudaStream_t stream) {
  constexpr int64_t rows = kWarps * kRows;
  const auto blocks = static_cast<unsigned>(std::min((call.count + rows - 1) / rows, kMaxBlocks));
  const int64_t bytes = kLookup ? 256 * call.plane[0].values * static_cast<int64_t>(sizeof(T)) : 0;
  const bool shared = kLookup && bytes <= kMaxShared;
  decode_kernel<T, kLookup><<<blocks, kWarps * kWarp, shared ? bytes : 0, stream>>>(call, shared);
}

}  // namespace

const char* decode_on_cuda(const Call& call, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (call.bits) {
    launch<float, false>(call, on);
  } else if (call.half) {
    launch<__half, true>(call, on);
  } else {
    launch<float, true>(call, on);
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace eigenselect
