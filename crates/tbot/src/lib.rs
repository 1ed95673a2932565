//! tbot
