#include <tiervec/rdma/tier_registry.h>

#include <array>

#include <tiervec/rdma/dax_tier.h>
#include <tiervec/rdma/dram_tier.h>
#include <tiervec/rdma/emulated_tier.h>
#include <tiervec/rdma/mmap_tier.h>
#include <tiervec/rdma/numa_tier.h>
#include <tiervec/rdma/rdma_tier.h>
#include <tiervec/rdma/remote_url.h>
#include <tiervec/rdma/ssd_tier.h>

namespace tiervec::rdma {

namespace {

constexpr std::array kSchemes = {
    kDramScheme, kMmapScheme, kSsdScheme, kNumaScheme, kDaxScheme, kEmulatedScheme, kTcpScheme, kRdmaScheme,
};

std::string known_forms() {
  std::string forms;
  for (const TierScheme& scheme : kSchemes) {
    forms.append(forms.empty() ? "" : ", ").append(scheme.form);
  }
  return forms;
}

const TierScheme* find_scheme(std::string_view name) {
  for (const TierScheme& scheme : kSchemes) {
    if (scheme.name == name) {
      return &scheme;
    }
  }
  return nullptr;
}

}  // namespace

std::span<const TierScheme> tier_schemes() {
  return kSchemes;
}

TierUrl parse_tier_url(const std::string& url) {
  const std::size_t colon = url.find(':');
  if (colon == std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument,
                "tier URL '" + url + "' has no ':' after its scheme; known are " + known_forms());
  }
  TierUrl parsed{url, url.substr(0, colon), url.substr(colon + 1)};
  const TierScheme* scheme = find_scheme(parsed.scheme);
  if (scheme == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "tier URL '" + url + "' has the unknown scheme '" + parsed.scheme + "'; known are " + known_forms());
  }
  scheme->check(parsed);
  return parsed;
}

void require_nothing_after_scheme(const TierUrl& url) {
  if (!url.rest.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "tier URL '" + url.text + "' has '" + url.rest + "' after '" + url.scheme + ":', which takes nothing");
  }
}

std::shared_ptr<Tier> open_tier(const std::string& url, const std::string& region_path) {
  const TierUrl parsed = parse_tier_url(url);
  return find_scheme(parsed.scheme)->open(parsed, region_path);
}

}  // namespace tiervec::rdma
