"""What GraphQL is: documents, their size, execution and errors, whatever the transport."""
