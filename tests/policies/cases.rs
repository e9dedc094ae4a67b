//! Our own attacks and controls on policies: `cases/xacml.json`, in both readings.

use crate::vectors::{Tally, read};
use crate::xacml::judge;

#[test]
fn attacks_on_policies_come_out_as_told() {
    let Some(file) = read("cases", "xacml.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let mut tally = Tally::of("cases/xacml.json");
    for case in cases {
        assert_eq!(case["kind"], "xacml");
        tally.ran(case["id"].as_str().expect("an id"), judge(case));
    }
    tally.close(cases.len(), 0);
}
