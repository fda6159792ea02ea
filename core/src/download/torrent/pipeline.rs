//! Policy: how many requests are under way with one peer.
