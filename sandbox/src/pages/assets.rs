//! Files of the pages: the CSS of Designsystemet (MIT, see `assets/designsystemet/LICENSE`) and our own.

use crate::state::Shared;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;

const CSS: &str = "text/css; charset=utf-8";

const FILES: [(&str, &str, &[u8]); 6] = [
    ("theme.css", CSS, include_bytes!("../../assets/designsystemet/theme.css")),
    ("designsystemet.css", CSS, include_bytes!("../../assets/designsystemet/index.css")),
    (
        "designsystemet-license.txt",
        "text/plain; charset=utf-8",
        include_bytes!("../../assets/designsystemet/LICENSE"),
    ),
    ("pages.css", CSS, include_bytes!("../../assets/pages.css")),
    ("live.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/live.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
];

pub(super) fn router() -> Router<Arc<Shared>> {
    FILES.iter().fold(Router::new(), |router, (name, kind, bytes)| {
        let answer = move || async move {
            let headers = [
                (header::CONTENT_TYPE, *kind),
                (header::CACHE_CONTROL, "max-age=300"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, *bytes).into_response()
        };
        router.route(&format!("/ui/assets/{name}"), get(answer))
    })
}
