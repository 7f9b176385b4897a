"""The Hydra configuration, found as `pkg://conf` from a checkout and from an installed package."""
