// Package s3test is a bucket in memory behind the S3 API, for tests: PUT, GET with ranges, HEAD, DELETE, lists in pages,
// multipart uploads. It holds its clients to what a real server asks (a length, the SHA-256 they announce, parts that
// exist) but looks at no signature, and fails on demand.
package s3test
