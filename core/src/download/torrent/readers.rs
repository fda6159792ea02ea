//! Policy: what those who read while it loads need first.
