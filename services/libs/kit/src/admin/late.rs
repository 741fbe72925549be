//! Routes that come later than their server: a process answers `/healthz` long before its service runs.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tower_service::Service as _;

/// Where the routes go when they are known. Until then everything is answered 503.
#[derive(Clone, Default)]
pub struct Late(Arc<OnceLock<Router>>);

impl Late {
    /// For the server, which puts its guard before it.
    pub fn router(&self) -> Router {
        let late = self.clone();
        Router::new().fallback(move |request: Request| late.clone().answer(request))
    }

    /// Once; a second time changes nothing.
    pub fn set(&self, routes: Router) {
        let _first = self.0.set(routes);
    }

    async fn answer(self, request: Request) -> Response {
        match self.0.get() {
            // Routers are always ready, and never fail.
            Some(routes) => routes.clone().call(request).await.into_response(),
            None => (StatusCode::SERVICE_UNAVAILABLE, "the service does not run yet\n").into_response(),
        }
    }
}
