//! What a download is told at its start, and what the store keeps of it. Builds requests.

use super::mirrors::Mirror;
use super::segments::MIN_SHARE;
use crate::base::FileName;
use crate::download::OnChange;
use crate::download::target::{Part, TargetPlan};
use crate::wire::http::{HttpUrl, Request, Validator};
use core::ops::Range;
use core::time::Duration;

/// Everything a download is told at its start: the user's options over the engine's settings.
#[derive(Clone, Debug)]
pub struct HttpPlan {
    /// The URLs of the file, the download's own first; at least one.
    pub urls: Vec<HttpUrl>,
    /// How many connections it may use; 1 or more.
    pub max_connections: usize,
    /// The smallest part of the file that is worth a connection, in bytes.
    pub min_segment: u64,
    /// The `User-Agent`.
    pub user_agent: String,
    /// The `Referer`, for the first URL's origin.
    pub referer: Option<String>,
    /// Further headers, for the first URL's origin.
    pub headers: Vec<(String, String)>,
    /// Cookies as `name=value`, for the first URL's origin.
    pub cookies: Vec<String>,
    /// How many redirects in a row are followed.
    pub max_redirects: usize,
    /// Whether a host elsewhere may redirect into the own network.
    pub allow_local_redirects: bool,
    /// How many failures in a row without progress end a mirror; 0 never does.
    pub max_retries: u32,
    /// The first pause before a retry.
    pub retry_delay: Duration,
    /// The longest pause before a retry.
    pub max_retry_delay: Duration,
    /// How long a connection may be silent, for messages.
    pub read_timeout: Duration,
    /// What happens when the resource changes.
    pub on_change: OnChange,
    /// The name that the user chose.
    pub file_name: Option<FileName>,
    /// How long it may take as a whole.
    pub deadline: Option<Duration>,
    /// The file.
    pub target: TargetPlan,
}

/// What the store keeps of a download's progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSaved {
    /// The length of the file in bytes.
    pub total: Option<u64>,
    /// The version of the file that is being fetched.
    pub validator: Option<Validator>,
    /// What each mirror said of its version, in the order of the URLs.
    pub validators: Vec<Option<Validator>>,
    /// The file.
    pub part: Option<Part>,
}

/// Whether the validator says anything.
pub(super) fn is_some(validator: &Validator) -> bool {
    validator.etag.is_some() || validator.last_modified.is_some()
}

impl HttpPlan {
    /// The request for `range` of what `mirror` has; without a range for the whole. Secrets go only where they were
    /// given for: headers, cookies and `Referer` to the first URL's origin, user-info to the origin it stands in.
    pub(super) fn request(&self, mirror: &Mirror, range: Option<&Range<u64>>) -> Request {
        let url = &mirror.url;
        let origin = url.origin();
        let mut headers = vec![
            ("User-Agent".to_owned(), self.user_agent.clone()),
            ("Accept".to_owned(), "*/*".to_owned()),
            ("Accept-Encoding".to_owned(), "identity".to_owned()),
        ];
        if let Some(range) = range {
            headers.push(("Range".to_owned(), range_header(range)));
            let validator = mirror.validator.as_ref();
            let condition = validator.and_then(|v| v.etag.as_ref().or(v.last_modified.as_ref()));
            if let Some(condition) = condition.filter(|_| range.start > 0 || range.end != u64::MAX) {
                headers.push(("If-Range".to_owned(), condition.clone()));
            }
        }
        if self.urls.first().is_some_and(|first| first.origin() == origin) {
            headers.extend(self.referer.iter().map(|referer| ("Referer".to_owned(), referer.clone())));
            if !self.cookies.is_empty() {
                headers.push(("Cookie".to_owned(), self.cookies.join("; ")));
            }
            // The user's own header stands in place of ours of the same name.
            headers.retain(|(ours, _)| !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(ours)));
            headers.extend(self.headers.iter().cloned());
        }
        let given = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
        if let Some(basic) = mirror.home.basic_auth().filter(|_| mirror.home.origin() == origin && !given) {
            headers.push(("Authorization".to_owned(), basic));
        }
        Request { target: url.target(), host: origin.host_header(), headers }
    }
}

fn range_header(range: &Range<u64>) -> String {
    match range.end {
        u64::MAX => format!("bytes={}-", range.start),
        end => format!("bytes={}-{}", range.start, end.saturating_sub(1)),
    }
}

/// How much of an unwanted answer is read to keep its connection, in bytes; a new connection costs about as much.
pub(super) const MAX_DRAIN: u64 = MIN_SHARE;
