// Package s3 keeps large blobs as objects of an S3 API: one object a blob, in one bucket below a prefix. Several nodes
// may use the same bucket and prefix.
//
//	PREFIX/ID               a committed object: immutable, whole, named by the blob's id
//	PREFIX/postel-owner     whose the prefix is, so that no other postel sweeps it
//
// # Writing
//
// A body is spooled into a local file while it arrives, so memory stays small and a slow sender holds no connection to
// the bucket. Commit sends the file: in one PUT up to PartSize, else as a multipart upload whose parts are sent a few at
// a time. Every request carries the SHA-256 of its octets, which the server verifies; afterwards the object is asked
// for its size and ETag. What an S3 API has answered with 200 is durable and visible to every reader. An upload
// that fails is aborted; the parts that a crash left are found by SweepUnfinished.
//
// # Reading
//
// Open reads the object's end, where a blob has its index, and so learns its size: one request. What follows is read
// ahead: a run of reads that continue each other shares a stream, each as long as three times what came before, so that
// 20 MB cost six requests and a header one. A stream that breaks is asked for again from where it broke.
//
// # Failure
//
// A request is tried three times, each within Timeout without progress; then the error has Kind Unavailable (deliveries
// answer 4xx, reads NO [UNAVAILABLE]), and the next request begins anew: nothing has to be told that the bucket is back.
// Only the answer that there is no such object has Kind NotFound; a bucket that is missing or closed to us is
// Unavailable too. Errors name bucket and host, never the secret.
package s3
