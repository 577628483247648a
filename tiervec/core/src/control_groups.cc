#include "control_groups.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <tiervec/core/parse_number.h>
#include <tiervec/core/system_file.h>

namespace tiervec {

namespace {

struct Mount {
  std::string root;   // the group that is mounted
  std::string point;  // where
};

bool lists(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    const std::string_view entry = list.substr(0, list.find(','));
    if (entry == wanted) return true;
    list.remove_prefix(std::min(entry.size() + 1, list.size()));
  }
  return false;
}

/// The kernel writes a space as \040.
std::string unescape(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    int code = 0;
    if (text.size() > 3 && text[0] == '\\' &&
        std::from_chars(text.data() + 1, text.data() + 4, code, 8).ec == std::errc()) {
      result += static_cast<char>(code);
      text.remove_prefix(4);
    } else {
      result += text[0];
      text.remove_prefix(1);
    }
  }
  return result;
}

// Lines such as "33 28 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory".
std::optional<Mount> find_mount(std::string_view mounts, int version, std::string_view controller) {
  while (!mounts.empty()) {
    std::string_view line = take_line(mounts);
    for (int i = 0; i < 3; ++i) (void)take_word(line);
    const std::string_view group = take_word(line);
    const std::string_view point = take_word(line);
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    line.remove_prefix(dash + 3);
    const std::string_view type = take_word(line);
    (void)take_word(line);
    if (version == 2 ? type == "cgroup2" : type == "cgroup" && lists(take_word(line), controller)) {
      return Mount{unescape(group), unescape(point)};
    }
  }
  return std::nullopt;
}

// Lines such as "4:cpu,cpuacct:/user.slice", and "0::/user.slice" for version 2.
std::optional<std::string> find_group(std::string_view membership, int version, std::string_view controller) {
  while (!membership.empty()) {
    std::string_view line = take_line(membership);
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (version == 2 ? line.substr(0, first) == "0" && controllers.empty() : lists(controllers, controller)) {
      return std::string(line.substr(second + 1));
    }
  }
  return std::nullopt;
}

/// The group's path below its mount, such as "/a/b", or "" for the mount itself. In a container without a name space of
/// its own the group's path begins with what is mounted; a group out of sight is taken for what is mounted.
std::string path_below(const std::string& group, const std::string& mounted) {
  const std::string prefix = mounted == "/" ? "" : mounted;
  if (group == "/" || group.find("/..") != std::string::npos || !group.starts_with(prefix)) return "";
  std::string rest = group.substr(prefix.size());
  return rest.empty() || rest.front() == '/' ? rest : "";
}

}  // namespace

std::vector<ControlGroup> control_groups(const std::filesystem::path& root, std::string_view controller) {
  const std::string membership = read_system_file(root / "proc/self/cgroup");
  const std::string mounts = read_system_file(root / "proc/self/mountinfo");
  std::vector<ControlGroup> groups;
  for (const int version : {2, 1}) {
    const auto group = find_group(membership, version, controller);
    const auto mount = find_mount(mounts, version, controller);
    if (!group || !mount) continue;
    std::string below = path_below(*group, mount->root);
    for (;;) {
      std::string name = mount->point + below;
      groups.push_back({version, root / name.substr(1), name});
      if (below.empty()) break;
      below.resize(below.rfind('/'));
    }
  }
  return groups;
}

}  // namespace tiervec
