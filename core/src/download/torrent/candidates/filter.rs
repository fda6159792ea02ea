//! Policy: addresses that are never used.

use core::net::IpAddr;
use core::ops::RangeInclusive;

/// Ranges of addresses, ascending and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpFilter {
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl IpFilter {
    /// A filter of ranges in any order; they may overlap. A range from one family to the other counts as empty.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<IpAddr>>) -> Self {
        let mut sorted: Vec<(IpAddr, IpAddr)> = ranges
            .into_iter()
            .map(RangeInclusive::into_inner)
            .filter(|(first, last)| first <= last && first.is_ipv4() == last.is_ipv4())
            .collect();
        sorted.sort_unstable();
        let mut merged: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        merged.shrink_to_fit();
        Self { ranges: merged }
    }

    /// Whether an address is in one of the ranges.
    pub fn blocks(&self, ip: IpAddr) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= ip);
        self.ranges[..after].last().is_some_and(|(_, last)| ip <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_a_range_are_blocked_and_no_others() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let filter = IpFilter::new([
            ip("10.0.0.5")..=ip("10.0.0.9"),
            ip("10.0.0.0")..=ip("10.0.0.6"),
            ip("2001:db8::")..=ip("2001:db8::ff"),
            ip("1.0.0.0")..=ip("::1"),
        ]);
        let blocked = ["10.0.0.0", "10.0.0.7", "10.0.0.9", "2001:db8::1"];
        let open = ["9.255.255.255", "10.0.0.10", "2001:db8::100", "::1", "1.0.0.1"];
        assert_eq!(blocked.map(|text| filter.blocks(ip(text))), [true; 4]);
        assert_eq!(open.map(|text| filter.blocks(ip(text))), [false; 5]);
        assert!(!IpFilter::default().blocks(ip("10.0.0.1")));
    }
}
