//! What there is to ask for.

use http::Method;

/// A path, asked in a way that it can be asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Status,
    Events,
    /// With the key in the query, or in the body.
    Explain,
    Act(Action),
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Drain,
    Restore,
    Probe,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Restore => "restore",
            Self::Probe => "probe",
        }
    }
}

/// There is no such path, or it is asked otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    Path,
    /// With the methods that it has.
    Method(&'static str),
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, NoRoute> {
        let (route, methods) = match path {
            // Mounted at a path, what is left of it is nothing.
            "/" | "" => (Self::Page, "GET"),
            "/status" => (Self::Status, "GET"),
            "/events" => (Self::Events, "GET"),
            "/explain" => (Self::Explain, "GET, POST"),
            "/drain" => (Self::Act(Action::Drain), "POST"),
            "/restore" => (Self::Act(Action::Restore), "POST"),
            "/probe" => (Self::Act(Action::Probe), "POST"),
            _ => return Err(NoRoute::Path),
        };
        match methods.split(", ").any(|allowed| method == allowed) {
            true => Ok(route),
            false => Err(NoRoute::Method(methods)),
        }
    }

    /// Whether it shows nothing of the cluster: the page itself, which asks for the rest.
    pub(super) fn is_bare(self) -> bool {
        self == Self::Page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_no_other_method_than_post() {
        for path in ["/drain", "/restore", "/probe"] {
            assert!(matches!(Route::of(&Method::POST, path), Ok(Route::Act(_))));
            for method in [
                Method::GET,
                Method::HEAD,
                Method::PUT,
                Method::DELETE,
                Method::OPTIONS,
            ] {
                assert_eq!(Route::of(&method, path), Err(NoRoute::Method("POST")));
            }
        }
        assert_eq!(Route::of(&Method::GET, "/explain"), Ok(Route::Explain));
        assert_eq!(Route::of(&Method::POST, "/explain"), Ok(Route::Explain));
        for path in ["/metrics", "//", "/status/", "/../status", "status"] {
            assert_eq!(Route::of(&Method::GET, path), Err(NoRoute::Path));
        }
    }
}
