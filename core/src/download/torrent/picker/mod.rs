//! Policy: which block is asked for next.
