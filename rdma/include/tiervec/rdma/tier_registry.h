#pragma once

// From a tier URL to a tier. A new tier adds its files under src/<scheme>/ and one line in tier_registry.cc.

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// `scheme:rest`, for example `emulated:rdma-200g`.
struct TierUrl {
  std::string text;
  std::string scheme;
  std::string rest;
};

struct TierScheme {
  std::string_view name;
  std::string_view form;     // what a URL of it looks like
  std::string_view summary;  // one line for `tiervec doctor`
  /// Throws kInvalidArgument when `rest` is not what the scheme takes. Touches no file and no network.
  void (*check)(const TierUrl& url);
  /// `url` has passed check.
  std::shared_ptr<Tier> (*open)(const TierUrl& url, const std::string& region_path);
};

/// Every scheme this build knows, in the order `tiervec doctor` lists them.
std::span<const TierScheme> tier_schemes();

/// Splits and checks a URL. Throws kInvalidArgument naming it and what would be right.
TierUrl parse_tier_url(const std::string& url);

/// The check of schemes that take nothing after the colon.
void require_nothing_after_scheme(const TierUrl& url);

}  // namespace tiervec::rdma
