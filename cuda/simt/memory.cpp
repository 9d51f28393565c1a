// The buffers of simt.hpp: between pages without access, all in one range of addresses.
#include "races.hpp"

#include <map>
#include <sys/mman.h>

namespace simt {
namespace {

constexpr char kFill = 0x5a;  // what a buffer begins as, and what lies around it

// Guarded memory, by its first byte.
std::mutex memory_mutex;
struct Memory {
  char* map;
  size_t map_bytes, bytes;
};
std::map<char*, Memory>& memories() {
  static std::map<char*, Memory> memories;
  return memories;
}

// Addresses for all buffers: as many as the system gives.
struct Region {
  char *begin = nullptr, *end = nullptr;
  Shadow shadow;

  Region() {
    for (size_t bytes = size_t(64) << 30; bytes >= size_t(1) << 28; bytes /= 2) {
      void* map = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (map == MAP_FAILED) continue;
      if (shadow.map(Shadow::Kind::buffers, bytes)) {
        begin = static_cast<char*>(map);
        end = begin + bytes;
        shadow.cover(begin, begin, end);
        return;
      }
      munmap(map, bytes);
    }
    fail("no address space for buffers");
  }

  // The first gap that is large enough: the shadow's memory is used again, too.
  char* find_room(size_t bytes) const {
    char* room = begin;
    for (auto& [first, memory] : memories()) {
      if (size_t(memory.map - room) >= bytes) return room;
      room = memory.map + memory.map_bytes;
    }
    return size_t(end - room) >= bytes ? room : nullptr;
  }
};

Region& region() {
  static Region region;
  return region;
}

}  // namespace

void* map_guarded(size_t bytes) {
  const size_t all = bytes + 2 * kPage;
  void* map = mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  if (bytes == 0 || !mprotect(static_cast<char*>(map) + kPage, bytes, PROT_READ | PROT_WRITE)) return map;
  munmap(map, all);
  return nullptr;
}

Shadow& buffers() { return region().shadow; }

void forbid_around(char* first, const Memory& memory, bool forbidden = true) {
  // The pages without access, too: a report says more than a fault.
  buffers().forbid(memory.map, first, forbidden);
  buffers().forbid(first + memory.bytes, memory.map + memory.map_bytes, forbidden);
}

void begin_launch() {
  std::lock_guard lock(memory_mutex);
  if (buffers().next()) return;
  for (auto& [first, memory] : memories()) forbid_around(first, memory);
}

std::string buffer_of(const void* address) {
  // Not locked: the program ends, and a thread that waits for this launch may hold the lock.
  for (auto& [first, memory] : memories())
    if (address >= memory.map && address < memory.map + memory.map_bytes)
      return ", " + std::to_string(static_cast<const char*>(address) - first) +
             " bytes from the begin of a buffer of " + std::to_string(memory.bytes);
  return "";
}

}  // namespace simt

using namespace simt;

extern "C" void* recis_simt_allocate(size_t bytes) {
  // The end lies against the guard, as near as 16-byte alignment of the beginning allows.
  const size_t body = (bytes + 15) & ~size_t(15), pages = (body + kPage - 1) / kPage * kPage;
  std::lock_guard lock(memory_mutex);
  char* map = region().find_room(pages + 2 * kPage);
  if (!map || (pages && mprotect(map + kPage, pages, PROT_READ | PROT_WRITE))) return nullptr;
  char *begin = map + kPage, *memory = begin + pages - body;
  memset(begin, kFill, pages);
  forbid_around(memory, memories()[memory] = {map, pages + 2 * kPage, bytes});
  return memory;
}

extern "C" void recis_simt_release(void* memory) {
  if (!memory) return;
  std::lock_guard lock(memory_mutex);
  auto found = memories().find(static_cast<char*>(memory));
  if (found == memories().end()) fail("release of memory that was not allocated");
  auto [first, buffer] = *found;
  auto is_fill = [](char byte) { return byte == kFill; };
  char *last = first + buffer.bytes, *end = buffer.map + buffer.map_bytes - kPage;
  if (!std::all_of(buffer.map + kPage, first, is_fill) || !std::all_of(last, end, is_fill))
    fail("a kernel has written beside a buffer");
  forbid_around(first, buffer, false);
  // A new mapping: nothing is left of the old one's memory.
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  mmap(buffer.map, buffer.map_bytes, PROT_NONE, flags, -1, 0);
  memories().erase(found);
}
