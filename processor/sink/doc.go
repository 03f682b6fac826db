// Package sink brings what a partition publishes to where it is kept: SQL
// tables, and Kafka's topics of candles and gaps.
//
//	owner ─ Changes ─▶ Mailbox ─ Work ─▶ SQL:    tables, with the progress in one transaction
//	                   (one a sink)  └─▶ Topic:  records, with the progress in a header
//	                                        ▲
//	             state.View ─ what changed after the progress ─┘
//
// A sink lags on its own. Its Mailbox keeps the latest value of each window that
// changed, so a slow sink costs windows, not changes; one that is slower still
// loses its mail, and reads from a View of the state what changed after its
// progress, as it does when it starts. A dead database never stops the rest.
//
// Sending again is always safe: a window keeps the highest version.
package sink
