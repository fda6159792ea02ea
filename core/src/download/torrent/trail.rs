//! Policy: where a request to a tracker or a web seed goes, redirect after redirect.

use crate::wire::http::{HttpUrl, Origin, Request, ResponseHead, UrlError};

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// There were more than are followed.
    #[error("too many redirects")]
    TooMany,
    /// It leads to something that is no address.
    #[error("redirects to a URL that cannot be asked: {0}")]
    BadUrl(UrlError),
}

/// The way of one request.
#[derive(Debug)]
pub(crate) struct Trail {
    url: HttpUrl,
    /// Who redirected here.
    from: Option<Origin>,
    redirects: usize,
}

impl Trail {
    pub(crate) fn new(url: HttpUrl) -> Self {
        Self { url, from: None, redirects: 0 }
    }

    pub(crate) fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Who redirected here.
    pub(crate) fn from(&self) -> Option<&Origin> {
        self.from.as_ref()
    }

    /// Goes where a redirect leads.
    pub(crate) fn follow(&mut self, location: &str) -> Result<(), RedirectError> {
        if self.redirects == MAX_REDIRECTS {
            return Err(RedirectError::TooMany);
        }
        let to = self.url.join(location).map_err(RedirectError::BadUrl)?;
        self.redirects += 1;
        self.from = Some(self.url.origin().clone());
        self.url = to;
        Ok(())
    }

    /// What is sent here for `home`, whose password goes to its own origin only.
    pub(crate) fn request(&self, home: &HttpUrl, user_agent: &str, range: Option<String>) -> Request {
        let is_home = home.origin() == self.url.origin();
        let password = is_home.then(|| home.basic_auth()).flatten().or_else(|| self.url.basic_auth());
        let headers = [
            ("User-Agent", Some(user_agent.to_owned())),
            ("Accept-Encoding", Some("identity".to_owned())),
            ("Range", range),
            ("Authorization", password),
        ];
        let mut request = Request::get(&self.url);
        for (name, value) in headers {
            if let Some(value) = value {
                // A value that cannot be sent is left out.
                let _ = request.header(name, &value);
            }
        }
        request
    }
}

/// Where an answer leads, if it is a redirect.
pub(super) fn leads_to(head: &ResponseHead) -> Option<String> {
    head.location().filter(|_| matches!(head.status, 301 | 302 | 303 | 307 | 308))
}

/// The most redirects of one request: one to another scheme and one to another host are usual.
const MAX_REDIRECTS: usize = 5;
