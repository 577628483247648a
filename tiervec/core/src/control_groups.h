#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tiervec {

/// A control group that this process is in.
struct ControlGroup {
  int version = 2;
  std::filesystem::path folder;  // below the root that was asked about
  std::string name;              // the folder as the process sees it, for messages
};

/// The groups that may limit what `controller` ("memory", "cpu") counts: the process's own first, then those that hold
/// it, up to the mount. Of both versions where both are mounted. Empty without control groups.
std::vector<ControlGroup> control_groups(const std::filesystem::path& root, std::string_view controller);

}  // namespace tiervec
