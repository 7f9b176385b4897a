// The CPU kernels.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "dequantize_gather.h"

// One compilation for each level of vector instructions, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EVERY_CPU __attribute__((target_clones("default", "avx2")))
#else
#define FOR_EVERY_CPU
#endif
#define INLINE inline __attribute__((always_inline))

namespace eigenselect {
namespace {

// Random rows of a large table wait for memory: they are asked for this many rows ahead.
constexpr int64_t kAhead = 8;
constexpr int64_t kCacheLine = 64;

INLINE const uint8_t* row_of(const Call& call, const Plane& plane, const int64_t* rows, int64_t i) {
  if (i + kAhead < call.count) {
    const uint8_t* later = plane.packed + rows[i + kAhead] * plane.width;
    for (int64_t at = 0; at < plane.width; at += kCacheLine) __builtin_prefetch(later + at);
    __builtin_prefetch(later + plane.width - 1);
  }
  return plane.packed + rows[i] * plane.width;
}

template <typename T, int kLanes>
struct Vector {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T))));
};

// Columns c..c+kLanes-1 of a row of bytes that each pick kValues values; c is a multiple of kLanes.
template <int kLanes, int kValues, typename T>
INLINE typename Vector<T, kLanes>::type columns(const uint8_t* bytes, const T* lut, int64_t c) {
  typename Vector<T, kLanes>::type vector;
  if constexpr (kValues >= kLanes) {
    std::memcpy(&vector, lut + bytes[c / kValues] * kValues + c % kValues, sizeof vector);
  } else {
    T found[kLanes];
    for (int k = 0; k < kLanes; k += kValues) {
      std::memcpy(found + k, lut + bytes[(c + k) / kValues] * kValues, sizeof(T) * kValues);
    }
    std::memcpy(&vector, found, sizeof vector);
  }
  return vector;
}

// Sums, from the first plane on, of planes of kValues... values a byte. Few wide stores rather than many narrow ones:
// the output is larger than the cache too.
template <typename T, int... kValues, size_t... kPlanes>
INLINE void look_up_fixed(const Call& call, const int64_t* rows, int64_t first, int64_t last,
                    std::index_sequence<kPlanes...>) {
  constexpr int kLanes = std::max(4, std::min({kValues...}));
  const T* lut[] = {static_cast<const T*>(call.plane[kPlanes].lut)...};
  T* out = static_cast<T*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    const uint8_t* bytes[] = {row_of(call, call.plane[kPlanes], rows, i)...};
    int64_t c = 0;
    for (; c + kLanes <= call.dim; c += kLanes) {
      const auto sum = (... + columns<kLanes, kValues>(bytes[kPlanes], lut[kPlanes], c));
      std::memcpy(out + c, &sum, sizeof sum);
    }
    for (; c < call.dim; ++c) {
      out[c] = (... + lut[kPlanes][bytes[kPlanes][c / kValues] * kValues + c % kValues]);
    }
  }
}

template <typename T, int... kValues>
INLINE void look_up_fixed(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  look_up_fixed<T, kValues...>(call, rows, first, last, std::make_index_sequence<sizeof...(kValues)>());
}

// The same for any number of values a byte.
template <typename T>
INLINE void look_up_any(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  T* out = static_cast<T*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    for (int p = 0; p < call.planes; ++p) {
      const Plane& plane = call.plane[p];
      const uint8_t* byte = row_of(call, plane, rows, i);
      for (int64_t c = 0; c < call.dim; c += plane.values, ++byte) {
        const T* values = static_cast<const T*>(plane.lut) + *byte * plane.values;
        const int64_t count = std::min(plane.values, call.dim - c);
        for (int64_t k = 0; k < count; ++k) out[c + k] = p == 0 ? values[k] : out[c + k] + values[k];
      }
    }
  }
}

template <typename T>
INLINE void look_up(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  int64_t digits = 0;  // the values a byte of each plane
  for (int p = 0; p < call.planes; ++p) digits = digits * 10 + std::min<int64_t>(call.plane[p].values, 9);
  switch (digits) {
    case 1: return look_up_fixed<T, 1>(call, rows, first, last);
    case 2: return look_up_fixed<T, 2>(call, rows, first, last);
    case 4: return look_up_fixed<T, 4>(call, rows, first, last);
    case 8: return look_up_fixed<T, 8>(call, rows, first, last);
    case 48: return look_up_fixed<T, 4, 8>(call, rows, first, last);  // 2 + 1 bits
    case 28: return look_up_fixed<T, 2, 8>(call, rows, first, last);  // 4 + 1
    case 24: return look_up_fixed<T, 2, 4>(call, rows, first, last);  // 4 + 2
    case 248: return look_up_fixed<T, 2, 4, 8>(call, rows, first, last);  // 4 + 2 + 1
    default: return look_up_any<T>(call, rows, first, last);
  }
}

// Adds a plane of kWidth-bit codes to the bytes of `codes`, its bits from bit kAt on.
template <int kWidth, int kAt, bool kFirst>
INLINE void spread(const uint8_t* __restrict bytes, int64_t width, uint8_t* __restrict codes) {
  for (int j = 0; j < 8 / kWidth; ++j, codes += width) {
    for (int64_t i = 0; i < width; ++i) {
      const int code = (bytes[i] >> (j * kWidth)) & ((1 << kWidth) - 1);
      codes[i] = static_cast<uint8_t>(code << kAt | (kFirst ? 0 : codes[i]));
    }
  }
}

// Plane `plane`, of the widest power of two in the lowest kLeft bits of kBits, and those after it.
template <int kBits, int kLeft = kBits>
INLINE void spread_planes(const Call& call, int plane, const int64_t* rows, int64_t i, uint8_t* codes) {
  if constexpr (kLeft > 0) {
    constexpr int kWidth = kLeft & 8 ? 8 : kLeft & 4 ? 4 : kLeft & 2 ? 2 : 1;
    constexpr int kBelow = kLeft - kWidth;
    const Plane& from = call.plane[plane];
    spread<kWidth, 8 - kBits + kBelow, kLeft == kBits>(row_of(call, from, rows, i), from.width, codes);
    spread_planes<kBits, kBelow>(call, plane + 1, rows, i, codes);
  }
}

template <int kBits>
INLINE void dequantize(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  int64_t columns = 0;
  for (int p = 0; p < call.planes; ++p) columns = std::max(columns, call.plane[p].width * call.plane[p].values);
  std::vector<uint8_t> codes(columns);
  const int32_t zero_point = *call.zero_point;
  const float scale = *call.scale;
  float* out = static_cast<float*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    spread_planes<kBits>(call, 0, rows, i, codes.data());
    const uint8_t* code = codes.data();
    for (int64_t c = 0; c < call.dim; ++c) out[c] = static_cast<float>(code[c] - zero_point) * scale;
  }
}

}  // namespace

FOR_EVERY_CPU void decode(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  switch (call.bits) {
    case 1: return dequantize<1>(call, rows, first, last);
    case 2: return dequantize<2>(call, rows, first, last);
    case 3: return dequantize<3>(call, rows, first, last);
    case 4: return dequantize<4>(call, rows, first, last);
    case 5: return dequantize<5>(call, rows, first, last);
    case 6: return dequantize<6>(call, rows, first, last);
    case 7: return dequantize<7>(call, rows, first, last);
    case 8: return dequantize<8>(call, rows, first, last);
    default: return call.half ? look_up<_Float16>(call, rows, first, last) : look_up<float>(call, rows, first, last);
  }
}

}  // namespace eigenselect
