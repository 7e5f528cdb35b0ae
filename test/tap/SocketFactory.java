// Lets the JDBC driver use a socket of the file system, named by the property "socket".

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;

public class SocketFactory extends javax.net.SocketFactory {
    private static class FileSocket extends Socket {
        private SocketChannel channel;

        @Override public void connect(SocketAddress ignored, int timeout) throws IOException {
            channel = SocketChannel.open(UnixDomainSocketAddress.of(System.getProperty("socket")));
        }
        @Override public InputStream getInputStream() { return Channels.newInputStream(channel); }
        @Override public OutputStream getOutputStream() { return Channels.newOutputStream(channel); }
        @Override public boolean isConnected() { return channel != null; }
        @Override public boolean isClosed() { return channel != null && !channel.isOpen(); }
        @Override public void close() throws IOException { if (channel != null) channel.close(); }
        @Override public void setTcpNoDelay(boolean on) { }
        @Override public void setKeepAlive(boolean on) { }
        @Override public void setSoTimeout(int timeout) { }
        @Override public int getSoTimeout() { return 0; }
    }

    @Override public Socket createSocket() { return new FileSocket(); }
    @Override public Socket createSocket(String host, int port) { throw new UnsupportedOperationException(); }
    @Override public Socket createSocket(String host, int port, InetAddress local, int localPort) { throw new UnsupportedOperationException(); }
    @Override public Socket createSocket(InetAddress host, int port) { throw new UnsupportedOperationException(); }
    @Override public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort) { throw new UnsupportedOperationException(); }
}
