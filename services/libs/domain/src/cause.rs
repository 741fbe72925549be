//! Hang-up causes: FreeSWITCH's names, their Q.850 numbers, and the SIP status that each becomes and comes from.
//!
//! One table, so that engine, records and metrics cannot disagree. Numbers from 500 on are FreeSWITCH's own.

/// (name, Q.850 or FreeSWITCH number, SIP status that FreeSWITCH sends for it)
const TABLE: &[(&str, u16, u16)] = &[
    ("NONE", 0, 500),
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
    ("RESPONSE_TO_STATUS_ENQUIRY", 30, 480),
    ("NORMAL_UNSPECIFIED", 31, 480),
    ("NORMAL_CIRCUIT_CONGESTION", 34, 503),
    ("NETWORK_OUT_OF_ORDER", 38, 502),
    ("NORMAL_TEMPORARY_FAILURE", 41, 503),
    ("SWITCH_CONGESTION", 42, 503),
    ("ACCESS_INFO_DISCARDED", 43, 480),
    ("REQUESTED_CHAN_UNAVAIL", 44, 503),
    ("PRE_EMPTED", 45, 480),
    ("FACILITY_NOT_SUBSCRIBED", 50, 480),
    ("OUTGOING_CALL_BARRED", 52, 403),
    ("INCOMING_CALL_BARRED", 54, 403),
    ("BEARERCAPABILITY_NOTAUTH", 57, 403),
    ("BEARERCAPABILITY_NOTAVAIL", 58, 503),
    ("SERVICE_UNAVAILABLE", 63, 503),
    ("BEARERCAPABILITY_NOTIMPL", 65, 488),
    ("CHAN_NOT_IMPLEMENTED", 66, 480),
    ("FACILITY_NOT_IMPLEMENTED", 69, 501),
    ("SERVICE_NOT_IMPLEMENTED", 79, 501),
    ("INVALID_CALL_REFERENCE", 81, 480),
    ("INCOMPATIBLE_DESTINATION", 88, 488),
    ("INVALID_MSG_UNSPECIFIED", 95, 480),
    ("MANDATORY_IE_MISSING", 96, 480),
    ("MESSAGE_TYPE_NONEXIST", 97, 480),
    ("WRONG_MESSAGE", 98, 480),
    ("IE_NONEXIST", 99, 480),
    ("INVALID_IE_CONTENTS", 100, 480),
    ("WRONG_CALL_STATE", 101, 480),
    ("RECOVERY_ON_TIMER_EXPIRE", 102, 504),
    ("MANDATORY_IE_LENGTH_ERROR", 103, 480),
    ("PROTOCOL_ERROR", 111, 480),
    ("INTERWORKING", 127, 480),
    ("ORIGINATOR_CANCEL", 487, 487),
    ("CRASH", 500, 500),
    ("SYSTEM_SHUTDOWN", 501, 500),
    ("LOSE_RACE", 502, 487),
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

#[must_use]
pub fn code_of(name: &str) -> Option<u16> {
    TABLE.iter().find(|row| row.0 == name).map(|row| row.1)
}

#[must_use]
pub fn name_of(code: u16) -> Option<&'static str> {
    TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
}

/// The SIP status that FreeSWITCH answers with for a cause that ends an unanswered call.
#[must_use]
pub fn to_sip(name: &str) -> u16 {
    TABLE.iter().find(|row| row.0 == name).map_or(480, |row| row.2)
}

/// The cause that FreeSWITCH gives to a final status from the far side.
#[must_use]
pub fn from_sip(status: u16) -> &'static str {
    match status {
        200..=299 => "NORMAL_CLEARING",
        401 | 402 | 403 | 407 | 603 | 608 => "CALL_REJECTED",
        404 => "UNALLOCATED_NUMBER",
        485 | 604 => "NO_ROUTE_DESTINATION",
        408 | 504 => "RECOVERY_ON_TIMER_EXPIRE",
        410 => "NUMBER_CHANGED",
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => "INTERWORKING",
        480 => "NO_USER_RESPONSE",
        400 | 481 | 500 | 503 => "NORMAL_TEMPORARY_FAILURE",
        486 | 600 => "USER_BUSY",
        484 => "INVALID_NUMBER_FORMAT",
        488 | 606 => "INCOMPATIBLE_DESTINATION",
        502 => "NETWORK_OUT_OF_ORDER",
        405 => "SERVICE_UNAVAILABLE",
        406 | 415 | 501 => "SERVICE_NOT_IMPLEMENTED",
        482 | 483 => "EXCHANGE_ROUTING_ERROR",
        487 => "ORIGINATOR_CANCEL",
        _ => "NORMAL_UNSPECIFIED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_find_each_other() {
        for (name, code, _) in TABLE {
            assert_eq!(code_of(name), Some(*code));
            assert_eq!(name_of(*code), Some(*name), "number {code} stands twice");
        }
    }

    #[test]
    fn every_status_gives_a_cause_that_the_table_knows() {
        for status in 100..700 {
            assert!(code_of(from_sip(status)).is_some(), "{status}");
        }
    }
}
