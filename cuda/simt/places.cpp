// Where in the source an instruction is, for reports: asks addr2line, which comes with `ar`.
#include "races.hpp"

#include <cstdio>
#include <link.h>
#include <unistd.h>

namespace simt {
namespace {

struct Module {
  uintptr_t address, base = 0;
  std::string file;
};

int find_module(dl_phdr_info* info, size_t, void* data) {
  Module& module = *static_cast<Module*>(data);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type != PT_LOAD || module.address - begin >= part.p_memsz) continue;
    module.base = info->dlpi_addr;
    module.file = info->dlpi_name;
    if (module.file.empty()) {
      char path[4096];
      const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
      module.file.assign(path, size_t(std::max(length, ssize_t(0))));
    }
    return 1;
  }
  return 0;
}

int find_shared(dl_phdr_info* info, size_t, void* data) {
  Module module{reinterpret_cast<uintptr_t>(&find_module), 0, {}};
  if (!find_module(info, 0, &module)) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i)
    if (info->dlpi_phdr[i].p_type == PT_TLS)
      *static_cast<Range*>(data) = {static_cast<char*>(info->dlpi_tls_data), info->dlpi_phdr[i].p_memsz};
  return 1;
}

// "/home/me/recis/cuda/adamw.cu:30" from cuda on.
std::string shortened(const std::string& line) {
  const size_t cuda = line.rfind("/cuda/");
  return line.substr(cuda == std::string::npos ? 0 : cuda + 1, line.find(' ', cuda) - (cuda + 1));
}

// "recis::(anonymous namespace)::adamw_kernel(float*, ...)" without where it is and what it takes.
std::string bare_name(std::string name) {
  for (const std::string scope = "(anonymous namespace)::"; name.find(scope) != std::string::npos;)
    name.erase(name.find(scope), scope.size());
  name.resize(std::min(name.size(), name.find_first_of("(<")));
  const size_t scope = name.rfind("::");
  name.erase(0, scope == std::string::npos ? 0 : scope + 2);
  return name.substr(name.rfind(' ') + 1);
}

}  // namespace

Range static_shared() {
  Range range{};
  dl_iterate_phdr(find_shared, &range);
  return range;
}

std::string place_of(const void* caller) {
  if (!caller) return "a place that was not kept";
  Module module{reinterpret_cast<uintptr_t>(caller) - 1, 0, {}};
  dl_iterate_phdr(find_module, &module);
  char command[5000], line[4096];
  snprintf(command, sizeof(command), "addr2line -Cfie '%s' 0x%zx 2>/dev/null", module.file.c_str(),
           size_t(module.address - module.base));
  // Pairs of lines, function and place, from the innermost inlined function outwards.
  std::string places, function;
  if (FILE* answer = popen(command, "r")) {
    auto next = [&] {
      if (!fgets(line, sizeof(line), answer)) return false;
      line[strcspn(line, "\n")] = 0;
      return true;
    };
    while (next()) {
      function = bare_name(line);
      if (!next() || strstr(line, "??") || !strstr(line, "/cuda/") || strstr(line, "simt/simt.hpp") ||
          strstr(line, "cuda/common.cuh"))
        continue;
      places += (places.empty() ? "" : ", from ") + shortened(line);
    }
    pclose(answer);
  }
  if (!places.empty()) return places + " in " + function;
  snprintf(line, sizeof(line), "%s+0x%zx", module.file.c_str(), size_t(module.address - module.base));
  return line;
}

}  // namespace simt
