//! Conversation: with one peer (BEP 3, 6, 10).
