//! Hangup causes as FreeSWITCH names and numbers them, and its two translations to and from SIP.
//!
//! The platform has its own table; this one is written apart on purpose, so that a slip in one shows against the other.

/// (name, Q.850 or FreeSWITCH code, SIP status that an unanswered caller gets)
const CAUSES: &[(&str, u16, u16)] = &[
    ("NONE", 0, 480),
    ("UNALLOCATED_NUMBER", 1, 404),
    ("NO_ROUTE_TRANSIT_NET", 2, 404),
    ("NO_ROUTE_DESTINATION", 3, 404),
    ("CHANNEL_UNACCEPTABLE", 6, 480),
    ("CALL_AWARDED_DELIVERED", 7, 480),
    ("NORMAL_CLEARING", 16, 480),
    ("USER_BUSY", 17, 486),
    ("NO_USER_RESPONSE", 18, 408),
    ("NO_ANSWER", 19, 480),
    ("SUBSCRIBER_ABSENT", 20, 480),
    ("CALL_REJECTED", 21, 603),
    ("NUMBER_CHANGED", 22, 410),
    ("REDIRECTION_TO_NEW_DESTINATION", 23, 410),
    ("EXCHANGE_ROUTING_ERROR", 25, 483),
    ("DESTINATION_OUT_OF_ORDER", 27, 502),
    ("INVALID_NUMBER_FORMAT", 28, 484),
    ("FACILITY_REJECTED", 29, 501),
    ("NORMAL_UNSPECIFIED", 31, 480),
    ("NORMAL_CIRCUIT_CONGESTION", 34, 503),
    ("NETWORK_OUT_OF_ORDER", 38, 503),
    ("NORMAL_TEMPORARY_FAILURE", 41, 503),
    ("SWITCH_CONGESTION", 42, 503),
    ("REQUESTED_CHAN_UNAVAIL", 44, 503),
    ("OUTGOING_CALL_BARRED", 52, 403),
    ("INCOMING_CALL_BARRED", 54, 403),
    ("BEARERCAPABILITY_NOTAUTH", 57, 403),
    ("BEARERCAPABILITY_NOTAVAIL", 58, 503),
    ("BEARERCAPABILITY_NOTIMPL", 65, 488),
    ("FACILITY_NOT_IMPLEMENTED", 69, 501),
    ("SERVICE_NOT_IMPLEMENTED", 79, 501),
    ("INCOMPATIBLE_DESTINATION", 88, 488),
    ("RECOVERY_ON_TIMER_EXPIRE", 102, 504),
    ("INTERWORKING", 127, 503),
    ("ORIGINATOR_CANCEL", 487, 487),
    ("CRASH", 500, 503),
    ("LOSE_RACE", 502, 480),
    ("MANAGER_REQUEST", 503, 480),
    ("BLIND_TRANSFER", 600, 480),
    ("ATTENDED_TRANSFER", 601, 480),
    ("ALLOTTED_TIMEOUT", 602, 480),
    ("USER_CHALLENGE", 603, 480),
    ("MEDIA_TIMEOUT", 604, 480),
    ("PICKED_OFF", 605, 480),
    ("USER_NOT_REGISTERED", 606, 480),
    ("PROGRESS_TIMEOUT", 607, 480),
    ("GATEWAY_DOWN", 609, 503),
];

/// The canonical name of a cause given by name (any case) or number.
pub(super) fn parse(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let number = text.parse::<u16>().ok();
    CAUSES
        .iter()
        .find(|(name, code, _)| name.eq_ignore_ascii_case(text) || Some(*code) == number)
        .map(|(name, ..)| *name)
}

/// The Q.850 code as `hangup_cause_q850` shows it. FreeSWITCH's own codes, which Q.850 does not have, are shown as 16.
pub(super) fn q850(name: &str) -> u16 {
    code(name).filter(|code| *code <= 127).unwrap_or(16)
}

pub(super) fn code(name: &str) -> Option<u16> {
    CAUSES.iter().find(|(n, ..)| *n == name).map(|(_, code, _)| *code)
}

/// What an inbound caller that was not answered is told.
pub(super) fn to_sip(name: &str) -> u16 {
    CAUSES.iter().find(|(n, ..)| *n == name).map_or(480, |(.., status)| *status)
}

/// What a final response of the far end means.
pub(super) fn from_sip(status: u16) -> &'static str {
    match status {
        200 => "NORMAL_CLEARING",
        401 | 402 | 403 | 407 | 603 | 608 => "CALL_REJECTED",
        404 | 604 => "UNALLOCATED_NUMBER",
        485 => "NO_ROUTE_DESTINATION",
        408 | 504 => "RECOVERY_ON_TIMER_EXPIRE",
        410 => "NUMBER_CHANGED",
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => "INTERWORKING",
        480 => "NO_USER_RESPONSE",
        400 | 481 | 500 | 503 => "NORMAL_TEMPORARY_FAILURE",
        486 | 600 => "USER_BUSY",
        484 => "INVALID_NUMBER_FORMAT",
        488 | 606 => "INCOMPATIBLE_DESTINATION",
        502 => "NETWORK_OUT_OF_ORDER",
        405 | 406 | 415 | 501 => "SERVICE_NOT_IMPLEMENTED",
        482 | 483 => "EXCHANGE_ROUTING_ERROR",
        487 => "ORIGINATOR_CANCEL",
        _ => "NORMAL_UNSPECIFIED",
    }
}

/// The reason phrase of a status, for responses and for `sip_hangup_phrase`.
pub(super) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        415 => "Unsupported Media Type",
        480 => "Temporarily Unavailable",
        481 => "Call Does Not Exist",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Time-out",
        603 => "Decline",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_by_name_and_number_and_translated_both_ways() {
        assert_eq!(parse("user_busy"), Some("USER_BUSY"));
        assert_eq!(parse("41"), Some("NORMAL_TEMPORARY_FAILURE"));
        assert_eq!(parse("NO_SUCH_CAUSE"), None);
        assert_eq!((q850("USER_BUSY"), q850("ORIGINATOR_CANCEL")), (17, 16));
        assert_eq!((to_sip("CALL_REJECTED"), from_sip(603)), (603, "CALL_REJECTED"));
        assert_eq!((to_sip("UNALLOCATED_NUMBER"), from_sip(404)), (404, "UNALLOCATED_NUMBER"));
    }
}
