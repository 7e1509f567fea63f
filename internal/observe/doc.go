// Package observe keeps what can be told of the running system: glass (the transcript of every protocol session,
// recorded at the wire) and journey (the events in a message's life). Both live in bounded rings in memory, are
// shown live to those who follow them, and go to a Sink that app gives, where rows with a time to live are kept.
//
// It decides nothing and stores nothing itself. A secret never reaches it: the codec that reads or writes a line
// says that it is secret, and the line is masked before it is kept.
package observe
