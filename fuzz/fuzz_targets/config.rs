//! Any text as a configuration file: taken, or refused with at least one problem at a place in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::config::source;

fuzz_target!(|text: &str| {
    match source::load_text(text, "fuzz.yaml", &|_: &str| None) {
        Ok(config) => {
            assert!(!config.routes.is_empty() && !config.upstreams.is_empty());
            let named = |route: &portvakt::config::RouteConfig| config.upstreams.contains_key(&route.upstream);
            assert!(config.routes.iter().all(named));
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            let lines = text.lines().count() + 1;
            for problem in errors.problems() {
                let line = usize::try_from(problem.place.line).unwrap();
                assert!(line <= lines, "{errors}");
                assert!(!problem.cure.is_empty(), "{errors}");
            }
            let _ = errors.to_string();
        }
    }
});
