//! esl
