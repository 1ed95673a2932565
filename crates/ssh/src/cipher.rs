//! How one packet is sealed and opened (RFC 4253, section 6, as the authenticated ciphers have it).
