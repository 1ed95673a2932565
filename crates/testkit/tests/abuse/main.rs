//! Attacks on the programs as they are installed, one file for each row of the abuse table.

mod d5_hostile_node;
mod p8_led_astray;
