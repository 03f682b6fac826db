// Package checkpoint keeps copies of partitions' state in a store: a folder, S3
// or what speaks its protocol, Google's or Azure's.
//
//	Store.Take: Store.Copy (hard links) ─▶ files that the store lacks ─▶ manifest, last
//	Store.List, Store.Verify: every byte, then the state's own checker
//	Store.Restore: newest that verifies and matches the log ─▶ a folder beside ─▶ renamed
//	Store.Collect: what no kept manifest needs is removed
//
// FORMAT.md has what lies in the store. A manifest is a checkpoint: without it
// files are nothing, and it is written when all of them are there.
//
// # Why collection is safe, whoever runs beside it
//
// Nobody locks anything; it follows from four rules and one length of time, the
// grace G. All ages are of the store's own clock (Store.clock).
//
//  1. A file's key is never used again: its hash, and a random end. What was
//     removed once doesn't come back, and what is uploaded isn't mistaken for
//     something older that is about to go.
//  2. A taker relies only on files that it uploads and on those of the manifest
//     that is newest when it begins. It writes its manifest within G/2 of
//     that moment, or gives up.
//  3. A manifest is displaced only by younger ones that are older than G. So one
//     that was the newest at a moment is there for G after it.
//  4. A file goes only if it is older than G and no manifest needs it in a
//     listing that began later than the age was measured.
//
// Take a file that manifest M needs, written at m by a taker that began at t, so
// m ≤ t + G/2. If the taker uploaded it, it did so after t: it is older than G
// only from t + G on, and by then M is listed. If it is of the manifest that was
// the newest at t, that one needs it until t + G at least, and by then M is
// listed. Collectors beside one another only remove the same.
//
// Against a clock that is wrong all the same, a suspended machine, a request
// that arrives hours late: a taker looks, when its manifest is there, whether
// all of its files are, else it takes the manifest back; and who restores
// verifies.
package checkpoint
