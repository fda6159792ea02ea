//! Conversation: with one tracker over UDP (BEP 15).
