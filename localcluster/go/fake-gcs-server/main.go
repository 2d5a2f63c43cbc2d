// A Google Cloud Storage for tests: fsouza's emulator over TLS, and one header of the service that it leaves out.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/url"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// Google names an upload in pieces in this header too, where pgBackRest looks for it.
const uploadIDHeader = "X-GUploader-UploadID"

type named struct{ http.ResponseWriter }

func (w named) WriteHeader(status int) {
	if location, err := url.Parse(w.Header().Get("Location")); err == nil {
		if id := location.Query().Get("upload_id"); id != "" {
			w.Header().Set(uploadIDHeader, id)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func main() {
	address := flag.String("address", "", "where to listen, with the port")
	host := flag.String("public-host", "storage.googleapis.com", "the name by which clients reach it")
	root := flag.String("root", "", "folder of the buckets, each a folder")
	certificate := flag.String("certificate", "", "file of the certificate")
	key := flag.String("key", "", "file of its key")
	flag.Parse()

	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		StorageRoot: *root,
		PublicHost:  *host,
		ExternalURL: "https://" + *host,
		NoListener:  true,
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.HTTPHandler().ServeHTTP(named{w}, r)
	})
	log.Fatal(http.ListenAndServeTLS(*address, *certificate, *key, handler))
}
