//! Policy: which addresses are tried, and when.
