package message

// tokenCount is a part of the format, like the table.
const tokenCount = len(codecTokens)

// codecTokens are the words that the binary form writes as one octet. The table belongs to version 1: entries never
// change their place, and none is added.
var codecTokens = [48]string{
	"text", "plain", "html", "multipart", "mixed", "alternative", "related", "signed",
	"report", "digest", "encrypted", "application", "octet-stream", "pdf", "image", "png",
	"jpeg", "gif", "message", "rfc822", "delivery-status", "calendar", "charset", "utf-8",
	"UTF-8", "us-ascii", "US-ASCII", "iso-8859-1", "ISO-8859-1", "format", "flowed", "boundary",
	"name", "filename", "attachment", "inline", "7bit", "8bit", "binary", "base64",
	"quoted-printable", "type", "protocol", "micalg", "delsp", "yes", "no", "",
}
