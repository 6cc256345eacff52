"""Long bodies and answers are read and written in a thread or another process.

lanes    the lane for each size, and what runs in it
process  the server's side of the codec process
worker   the codec process
jobs     what it does
frames   values between the two
"""
