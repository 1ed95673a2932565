#[test]
fn the_definition_is_sound() {
    super::definition().debug_assert();
}
