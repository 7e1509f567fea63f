// Package space watches the room on the disk of the data directory, so that a full disk costs refusals and never mail:
// new mail is refused while the engine still has room for its log, its write buffers and its compactions, and a ballast
// file is given up so that what makes room (EXPUNGE, DELETE, the end of a queue item) can be committed. It judges and
// keeps the ballast; who asks, and what is said to clients, is not its business.
//
// # Levels
//
// Free octets as the file system tells them to an ordinary user, with the default reserve of 64 MiB:
//
//	        ┊  new mail, from the reserve and twice the message's size
//	80 MiB ─┤  after a refusal: new mail again, if the ballast lies there
//	64 MiB ─┤  Reserve: below, new mail is refused (Kind Full)
//	32 MiB ─┤  half the reserve, or half the ballast if that is smaller: below, compactions wait, and what makes room has
//	        │  the ballast given up; without a ballast it is refused too
//	     0 ─┘  what is left is the engine's: its log, its manifest, the flush of its buffers
//
// The ballast (64 MiB by default, allocated for real) lies in the file "ballast" of the data directory. It is removed only
// when it is needed, so that a program which fills the disk does not get it too: for what makes room, and at the first
// ENOSPC of the engine (the write that met it is then done again). It is written anew once there is room for it and the
// level above the reserve, before new mail is taken.
//
// # Looking
//
// Run looks four times a second. Between two looks what is admitted is subtracted, and who would be refused looks anew
// first: so what this process writes cannot overrun a level unnoticed; another process can, for a quarter of a second.
//
// # Invariants
//
// Admitting costs an atomic read and an add. A nil Guard, and one on a file system that cannot tell its room, admits
// everything. Crossing a level is logged once.
package space
