// Package oauth verifies the bearer tokens of one issuer: JSON Web Tokens (RFC 7519) signed by one of the keys that the
// issuer publishes (RFC 7517). It implements sasl.Tokens. What a token must have is checked by go-oidc: iss, aud, exp,
// nbf and a signature by an algorithm with a public key; "none" and those with a shared key are refused.
//
// Which account a token is for says one claim. With "email" it counts only if the issuer says email_verified: else
// whoever may write any address into a profile of theirs could log in as its owner.
//
// Keys are read when the first token comes, again after an hour, and when a token names one that is not known; never
// more often than every ten seconds, however many such tokens come. While they cannot be read, those known are good for
// a day. A read is bounded in size, keys and time.
//
// The other way round a Command gets the tokens by which we log in elsewhere.
package oauth
