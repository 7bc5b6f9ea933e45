//! Fail points exist in test builds only.

use std::fs;

use cofferdam_tests::Checkout;
use cofferdam_tests::crash::fail_points_below;

#[test]
fn the_released_binary_contains_no_fail_point() {
    let checkout = Checkout::current();
    let binary = fs::read(checkout.cofferdam()).unwrap();
    let contains = |text: &str| binary.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains("checkpoint-corrupt"), "the texts of the binary are found");
    for text in ["COFFERDAM_FAIL_POINTS", "the fail point `"] {
        assert!(!contains(text), "the binary contains `{text}`");
    }
    let points = fail_points_below(&checkout.root.join("host/src")).unwrap();
    assert!(!points.is_empty());
    // Each name has one dot. So one pass over the binary compares all names at the places of dots.
    for dot in binary.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(index, _)| index) {
        for (name, _) in &points {
            let start = dot.saturating_sub(name.find('.').unwrap());
            assert!(!binary[start..].starts_with(name.as_bytes()), "the binary contains the fail point `{name}`");
        }
    }
}
