//! Policy: which peers may download from us.
