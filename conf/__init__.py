"""The Hydra configuration, found as `pkg://eigenselect.conf` from a checkout and from an installed package."""
