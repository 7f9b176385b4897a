// The CPU kernels.
#include <algorithm>
#include <cstring>
#include <vector>

#include "dequantize_gather.h"

// Compiled with and without wide vectors; which one runs is chosen when the library is loaded.
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

INLINE float widened(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) {  // zero and what is below the normal numbers: whole multiples of 2**-24
    const float small = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -small : small;
  }
  const uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// What a row was made of is multiplied by its own number, if there is one, while it is in the nearest cache.
INLINE void scale_row(const Call& call, const int64_t* rows, int64_t i, float* out) {
  float scale;
  if (call.row_scale) {
    if (i + kAhead < call.count) __builtin_prefetch(call.row_scale + rows[i + kAhead]);
    scale = widened(call.row_scale[rows[i]]);
  } else if (call.row_code) {
    if (i + kAhead < call.count) __builtin_prefetch(call.row_code + rows[i + kAhead]);
    scale = call.row_level[call.row_code[rows[i]]];
  } else {
    return;
  }
  for (int64_t c = 0; c < call.dim; ++c) out[c] *= scale;
}

INLINE void scale_row(const Call&, const int64_t*, int64_t, uint16_t*) {}  // rows in float16 have none

// Rows of kValues values a byte. The values of some bytes are written at once: the output is larger than the cache, and
// many narrow writes wait for it.
template <typename T, int kValues>
INLINE void look_up(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  constexpr int kBytes = std::max(1, 4 / kValues);
  typedef T Values __attribute__((vector_size(kBytes * kValues * sizeof(T))));
  const T* lut = static_cast<const T*>(call.lut);
  T* out = static_cast<T*>(call.out) + first * call.dim;
  const int64_t whole = call.dim / (kBytes * kValues) * kBytes;  // bytes
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    const uint8_t* bytes = row_of(call, call.plane[0], rows, i);
    for (int64_t byte = 0; byte < whole; byte += kBytes) {
      Values values;
      if constexpr (kBytes == 1) {
        std::memcpy(&values, lut + bytes[byte] * kValues, sizeof values);
      } else {
        T found[kBytes * kValues];
        for (int k = 0; k < kBytes; ++k) {
          std::memcpy(found + k * kValues, lut + bytes[byte + k] * kValues, sizeof(T) * kValues);
        }
        std::memcpy(&values, found, sizeof values);
      }
      std::memcpy(out + byte * kValues, &values, sizeof values);
    }
    for (int64_t c = whole * kValues; c < call.dim; ++c) out[c] = lut[bytes[c / kValues] * kValues + c % kValues];
    scale_row(call, rows, i, out);
  }
}

template <typename T>
INLINE void look_up_any(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  const int64_t values = call.plane[0].values;
  const T* lut = static_cast<const T*>(call.lut);
  T* out = static_cast<T*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    const uint8_t* byte = row_of(call, call.plane[0], rows, i);
    for (int64_t c = 0; c < call.dim; c += values, ++byte) {
      std::memcpy(out + c, lut + *byte * values, sizeof(T) * std::min(values, call.dim - c));
    }
    scale_row(call, rows, i, out);
  }
}

template <typename T>
INLINE void look_up(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  switch (call.plane[0].values) {
    case 1: return look_up<T, 1>(call, rows, first, last);
    case 2: return look_up<T, 2>(call, rows, first, last);
    case 4: return look_up<T, 4>(call, rows, first, last);
    case 8: return look_up<T, 8>(call, rows, first, last);
    default: return look_up_any<T>(call, rows, first, last);
  }
}

// The kWidth-bit values of a row of bytes, moved to the bits from kAt on of a byte for each column; with kAdd added to
// what is there.
template <int kWidth, int kAt, bool kAdd>
INLINE void take_apart(const uint8_t* __restrict bytes, int64_t width, uint8_t* __restrict codes) {
  for (int j = 0; j < 8 / kWidth; ++j, codes += width) {
    for (int64_t i = 0; i < width; ++i) {
      const int value = (bytes[i] >> (j * kWidth)) & ((1 << kWidth) - 1);
      codes[i] = static_cast<uint8_t>(value << kAt | (kAdd ? codes[i] : 0));
    }
  }
}

// Plane `plane`, which holds the highest one of the lowest kLeft of kBits bits' powers of two, and those after it.
template <int kBits, int kLeft>
INLINE void take_planes_apart(const Call& call, int plane, const int64_t* rows, int64_t i, uint8_t* codes) {
  if constexpr (kLeft > 0) {
    constexpr int kWidth = kLeft & 8 ? 8 : kLeft & 4 ? 4 : kLeft & 2 ? 2 : 1;
    constexpr int kBelow = kLeft - kWidth;
    const Plane& from = call.plane[plane];
    take_apart<kWidth, 8 - kBits + kBelow, kLeft != kBits>(row_of(call, from, rows, i), from.width, codes);
    take_planes_apart<kBits, kBelow>(call, plane + 1, rows, i, codes);
  }
}

// Windows of trellis codes reach into at most three bytes before their own: those lie in front of a copy of the row, so
// that four bytes, the last one lowest, have all bits of a byte's windows.
constexpr int64_t kBefore = 3;

INLINE void copy_ring(const uint8_t* row, int64_t width, uint8_t* ring) {
  for (int64_t back = 1; back <= kBefore; ++back) ring[kBefore - back] = row[(kBefore * width - back) % width];
  std::memcpy(ring + kBefore, row, width);
}

INLINE uint32_t number_at(const uint8_t* ring, int64_t byte) {
  uint32_t number;
  std::memcpy(&number, ring + byte, sizeof number);
  return __builtin_bswap32(number);
}

// One row of one plane, or what it adds to the planes before it.
template <int kBits, bool kAdd>
INLINE void pick_row(const Call& call, int plane, const int64_t* rows, int64_t i, uint8_t* ring, float* out) {
  constexpr int kPlaces = 8 / kBits;
  const float* levels = call.levels[plane];
  const uint32_t mask = (uint32_t{1} << call.window) - 1;
  copy_ring(row_of(call, call.plane[plane], rows, i), call.plane[plane].width, ring);
  const auto put = [&](int64_t c, uint32_t number, int place) {
    const float level = levels[number >> (8 - kBits * (place + 1)) & mask];
    out[c] = kAdd ? out[c] + level : level;
  };
  const int64_t whole = call.dim / kPlaces;  // bytes
  for (int64_t byte = 0; byte < whole; ++byte) {
    const uint32_t number = number_at(ring, byte);
    for (int j = 0; j < kPlaces; ++j) put(byte * kPlaces + j, number, j);
  }
  for (int64_t c = whole * kPlaces; c < call.dim; ++c) put(c, number_at(ring, c / kPlaces), c % kPlaces);
}

// Plane `plane`, which holds the highest one of the lowest kLeft bits' powers of two, and those after it.
template <int kLeft, bool kAdd>
INLINE void pick_planes(const Call& call, int plane, const int64_t* rows, int64_t i, uint8_t* ring, float* out) {
  if constexpr (kLeft > 0) {
    constexpr int kWidth = kLeft & 4 ? 4 : kLeft & 2 ? 2 : 1;
    pick_row<kWidth, kAdd>(call, plane, rows, i, ring, out);
    pick_planes<kLeft - kWidth, true>(call, plane + 1, rows, i, ring, out);
  }
}

INLINE std::vector<uint8_t> ring_of(const Call& call) {
  int64_t width = 0;
  for (int p = 0; p < call.planes; ++p) width = std::max(width, call.plane[p].width);
  return std::vector<uint8_t>(kBefore + width);
}

template <int kBits>
INLINE void pick(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  std::vector<uint8_t> ring = ring_of(call);
  float* out = static_cast<float*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    pick_planes<kBits, false>(call, 0, rows, i, ring.data(), out);
    scale_row(call, rows, i, out);
  }
}

// Some columns: where the last byte of each one's window is, and how far the window lies above its end.
INLINE void pick_some(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  std::vector<uint8_t> ring = ring_of(call);
  std::vector<int32_t> bytes(call.dim), shifts(call.dim);
  for (int64_t c = 0; c < call.dim; ++c) {
    const int64_t bit = int64_t{call.bits} * (call.place[c] + 1) - 1;  // the last one of the window
    bytes[c] = static_cast<int32_t>(bit / 8);
    shifts[c] = static_cast<int32_t>(7 - bit % 8);
  }
  const float* levels = call.levels[0];
  const uint32_t mask = (uint32_t{1} << call.window) - 1;
  float* out = static_cast<float*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    copy_ring(row_of(call, call.plane[0], rows, i), call.plane[0].width, ring.data());
    for (int64_t c = 0; c < call.dim; ++c) out[c] = levels[number_at(ring.data(), bytes[c]) >> shifts[c] & mask];
    scale_row(call, rows, i, out);
  }
}

template <int kBits>
INLINE void dequantize(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  int64_t columns = 0;
  for (int p = 0; p < call.planes; ++p) columns = std::max(columns, call.plane[p].width * call.plane[p].values);
  std::vector<uint8_t> buffer(columns);
  uint8_t* codes = buffer.data();
  const int32_t zero_point = *call.zero_point;
  const float scale = *call.scale;
  float* out = static_cast<float*>(call.out) + first * call.dim;
  for (int64_t i = first; i < last; ++i, out += call.dim) {
    take_planes_apart<kBits, kBits>(call, 0, rows, i, codes);
    for (int64_t c = 0; c < call.dim; ++c) out[c] = static_cast<float>(codes[c] - zero_point) * scale;
    scale_row(call, rows, i, out);
  }
}

}  // namespace

FOR_EVERY_CPU void decode(const Call& call, const int64_t* rows, int64_t first, int64_t last) {
  if (call.place) return pick_some(call, rows, first, last);
  if (call.window) {
    switch (call.bits) {
      case 1: return pick<1>(call, rows, first, last);
      case 2: return pick<2>(call, rows, first, last);
      case 3: return pick<3>(call, rows, first, last);
      case 4: return pick<4>(call, rows, first, last);
      case 5: return pick<5>(call, rows, first, last);
      case 6: return pick<6>(call, rows, first, last);
      case 7: return pick<7>(call, rows, first, last);
    }
  }
  switch (call.bits) {
    case 0: return call.half ? look_up<uint16_t>(call, rows, first, last) : look_up<float>(call, rows, first, last);
    case 1: return dequantize<1>(call, rows, first, last);
    case 2: return dequantize<2>(call, rows, first, last);
    case 3: return dequantize<3>(call, rows, first, last);
    case 4: return dequantize<4>(call, rows, first, last);
    case 5: return dequantize<5>(call, rows, first, last);
    case 6: return dequantize<6>(call, rows, first, last);
    case 7: return dequantize<7>(call, rows, first, last);
    case 8: return dequantize<8>(call, rows, first, last);
  }
}

}  // namespace eigenselect
