// How the CPU kernels share rows among threads. The order of every sum follows from the shape alone: a row is cut into
// spans of kSpan elements, one thread sums each span, and the spans' sums are added in order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "common/dtype.h"

namespace gpgan::cpu {

constexpr int64_t kSpan = 8192;          // elements: 32 KiB of float32, the size of a first-level cache
constexpr int64_t kGrain = 32768;        // elements; with fewer, another thread costs more time than it saves
constexpr int64_t kLongRow = 256 << 10;  // bytes; longer rows are shared by several threads
constexpr int64_t kRowsPerThread = 2;    // with this many rows per thread, even long rows are not shared

template <typename F>
void parallel(const Threads& threads, int64_t count, int64_t grain, F&& f) {
  const Body body = [](int64_t begin, int64_t end, void* state) {
    auto& call = *static_cast<std::remove_reference_t<F>*>(state);
    for (int64_t i = begin; i < end; ++i) {
      call(i);
    }
  };
  if (count > 0) {
    threads.parallel_for(count, grain, body, &f);
  }
}

inline int64_t spans(int64_t length) { return (length + kSpan - 1) / kSpan; }

// f(begin, length) for span number i of a row.
template <typename F>
auto on_span(int64_t row_length, int64_t i, F&& f) {
  return f(i * kSpan, std::min(kSpan, row_length - i * kSpan));
}

// f(row, begin, length) for every span of every row; spans must be independent of each other.
template <typename F>
void for_each_span(const Rows& rows, const Threads& threads, F&& f) {
  const int64_t per_row = spans(rows.length);
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, std::min(rows.length, kSpan)));
  parallel(threads, rows.count * per_row, grain, [&](int64_t i) {
    on_span(rows.length, i % per_row, [&](int64_t begin, int64_t length) { f(i / per_row, begin, length); });
  });
}

// For every row: finish(row, sum), where sum is that of partial(row, begin, length) over its spans. Then, unless again
// is nullptr, again(row, begin, length) for each span while it is still in the cache.
template <typename T, typename Partial, typename Finish, typename Again>
void reduce_rows(const Rows& rows, const Threads& threads, Partial&& partial, Finish&& finish, Again&& again) {
  using acc_t = acc_type<T>;
  const int64_t per_row = spans(rows.length);
  const auto partial_of = [&](int64_t row, int64_t i) {
    return on_span(rows.length, i, [&](int64_t begin, int64_t length) { return partial(row, begin, length); });
  };
  constexpr bool kTwice = !std::is_same_v<std::decay_t<Again>, std::nullptr_t>;
  const auto again_on = [&](int64_t row, int64_t i) {
    if constexpr (kTwice) {
      on_span(rows.length, i, [&](int64_t begin, int64_t length) { again(row, begin, length); });
    }
  };
  const bool is_long = rows.length * static_cast<int64_t>(sizeof(T)) > kLongRow;
  if (!is_long || rows.count >= kRowsPerThread * threads.count) {
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, rows.length));
    parallel(threads, rows.count, grain, [&](int64_t row) {
      acc_t sum = 0;
      for (int64_t i = 0; i < per_row; ++i) {
        sum += partial_of(row, i);
      }
      finish(row, sum);
      for (int64_t i = 0; kTwice && i < per_row; ++i) {
        again_on(row, i);
      }
    });
    return;
  }
  std::vector<acc_t> partials(static_cast<size_t>(per_row));
  for (int64_t row = 0; row < rows.count; ++row) {
    parallel(threads, per_row, kGrain / kSpan,
             [&](int64_t i) { partials[static_cast<size_t>(i)] = partial_of(row, i); });
    acc_t sum = 0;
    for (const acc_t value : partials) {
      sum += value;
    }
    finish(row, sum);
    if (kTwice) {
      parallel(threads, per_row, kGrain / kSpan, [&](int64_t i) { again_on(row, i); });
    }
  }
}

}  // namespace gpgan::cpu
